"""LoftQ against its definition, PEFT's own function, and a GPT-2; and the stored runs of lesson 14."""

import inspect

import pytest
import torch
from test_runs import setting_of

from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, dense_layers, load_gpt2, lora_layers, random_gpt2
from lora_lab.loftq import loftq, use_loftq
from lora_lab.merging import adapted_weights
from lora_lab.quantization import NF4, dequantize, quantize
from lora_lab.quantized_layers import LinearNF4, dequantize_gpt2, quantize_gpt2
from lora_lab.runs import lowest, qlora, read_runs, runs_of
from lora_lab.runs.methods import make_trainable
from lora_lab.runs.one_run import SEEDS

THREE = qlora.THREE
IDS = torch.arange(24).view(2, 12)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def rounded(W, levels):
    return dequantize(*quantize(W, levels), levels).view(W.shape)


@pytest.mark.parametrize("levels", [NF4, THREE])
def test_one_round_takes_the_largest_singular_values_off_the_rounding_error(levels):
    W = normal(64, 128)
    W_hat, B, A = loftq(W, 8, levels, rounds=1)
    assert torch.equal(W_hat, rounded(W, levels)) and B.shape == (64, 8) and A.shape == (8, 128)
    s = torch.linalg.svdvals(W - W_hat)
    left = torch.linalg.svdvals(W - W_hat - B @ A)
    torch.testing.assert_close(left[:56], s[8:], atol=1e-5, rtol=1e-4)


def test_a_second_round_rounds_what_the_first_has_left_over():
    W = normal(64, 128)
    _, B, A = loftq(W, 8, THREE, rounds=1)
    W_hat, B_2, A_2 = loftq(W, 8, THREE, rounds=2)
    assert torch.equal(W_hat, rounded(W - B @ A, THREE))
    assert (W - W_hat - B_2 @ A_2).norm() < (W - rounded(W, THREE) - B @ A).norm()


@pytest.mark.parametrize("wrong", ["NaN", "17 levels"])
def test_what_cannot_be_quantised_is_refused_before_anything_changes(wrong):
    model = apply_lora_to_gpt2(random_gpt2(), 4, 8, ("fc",))
    if wrong == "NaN":
        model.transformer.h[1].mlp.c_proj.weight.data[0, 0] = float("nan")
    levels = torch.linspace(-1, 1, 17) if wrong == "17 levels" else NF4
    frozen = model.transformer.h[0].mlp.c_fc.base.weight
    before = frozen.clone()
    with pytest.raises(ValueError, match=r"16 levels at most, got 17|NaN"):
        use_loftq(model, levels)
    assert torch.equal(frozen, before)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        loftq(normal(64, 128), 8, rounds=0)


def test_weights_that_rounding_does_not_change_have_a_finite_start():
    """As when 4 bits are dequantised and rounded once more: no singular value is above 0."""
    model = dequantize_gpt2(quantize_gpt2(random_gpt2()))
    before = model(IDS).logits
    after = use_loftq(apply_lora_to_gpt2(model, 4, 8, ALL_TARGETS))(IDS).logits
    torch.testing.assert_close(after, before, atol=0.01, rtol=0.01)


def test_one_round_is_what_peft_computes_from_bitsandbytes_weights():
    """The two halves of PEFT's `_loftq_init_new`, which as a whole asks for a GPU."""
    bnb = pytest.importorskip("bitsandbytes.functional")
    from peft.utils.loftq_utils import _low_rank_decomposition

    W = normal(64, 128)
    theirs = _low_rank_decomposition(W - bnb.dequantize_4bit(*bnb.quantize_4bit(W, quant_type="nf4")), 8)
    _, B, A = loftq(W, 8, rounds=1)
    torch.testing.assert_close(B @ A, theirs["L"] @ theirs["R"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("levels", [NF4, THREE])
def test_a_gpt2_starts_nearer_to_its_original(levels):
    original = random_gpt2()
    weights = [W.clone() for W, _ in adapted_weights(apply_lora_to_gpt2(random_gpt2(), 4, 8, ALL_TARGETS))]
    model = use_loftq(apply_lora_to_gpt2(random_gpt2(), 4, 8, ALL_TARGETS), levels, rounds=2)
    assert all(isinstance(layer, LinearNF4) for layer in dense_layers(model).values())
    for W, (W_hat, layer) in zip(weights, adapted_weights(model), strict=True):
        expected, B, A = loftq(W, 4, levels, rounds=2)
        torch.testing.assert_close(layer.delta_W(), B @ A, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(W_hat, expected, atol=0.01 * W.abs().max(), rtol=0)  # scales in 8 bits
        assert (W - W_hat - layer.delta_W()).norm() < 0.99 * (W - rounded(W, levels)).norm()
        sizes = layer.B.norm(dim=0), layer.A.norm(dim=1)
        torch.testing.assert_close(*sizes, atol=1e-5, rtol=1e-4)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if name.endswith((".A", ".B"))
    }
    assert original.config.n_layer == len(lora_layers(model)) / 6


def test_weights_in_4_bits_are_refused_with_nothing_changed():
    model = apply_lora_to_gpt2(quantize_gpt2(random_gpt2()), 4, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="dequantise it first"):
        use_loftq(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# The stored runs


def stored(**wanted):
    return runs_of(read_runs("qlora")["bases"], **wanted)


def test_no_run_is_missing_and_none_is_there_twice():
    first = qlora.settings_of_bases()
    asked = first + qlora.settings_of_more_seeds(stored()[: len(first)])
    assert (len(first), len(asked), len(set(asked))) == (30, 54, 54)
    for run, setting in zip(stored(), asked, strict=True):
        assert setting.asked().items() <= run.items()


def test_every_best_rate_has_a_worse_one_on_both_sides_and_every_seed():
    for base, start in qlora.COMPARED:
        sweep = stored(base=base, start=start, seed=0)
        assert sorted(run["rate"] for run in sweep) == list(qlora.RATES)
        best = lowest(sweep, "chosen")
        assert best["rate"] not in (qlora.RATES[0], qlora.RATES[-1]), (base, start)
        place = qlora.RATES.index(best["rate"])
        reach = 1 if (base, start) in qlora.WITH_NEIGHBOURS else 0
        for rate in qlora.RATES[place - reach : place + reach + 1]:
            assert {run["seed"] for run in stored(base=base, start=start, rate=rate)} == set(SEEDS)


@pytest.mark.parametrize("base, start", qlora.COMPARED)
def test_a_stored_run_starts_where_it_started(base, start):
    """Its loss before training, made again."""
    run = stored(base=base, start=start)[0]
    setting = setting_of(run, qlora.OnBase)
    torch.manual_seed(setting.seed)
    model = qlora.adapted_base(setting)
    assert qlora.losses_of(model, setting.held_out, ("pirate",))["pirate"] == pytest.approx(
        run["start_loss"], abs=0.002
    )


def test_the_random_start_has_the_size_of_loftqs():
    method = "LoRA, all linear layers"
    random, fitted = make_trainable(load_gpt2(), method), make_trainable(load_gpt2(), method)
    qlora.start_at_random(random, THREE)
    use_loftq(fitted, THREE, qlora.ROUNDS)
    for (_, one), (_, other) in zip(adapted_weights(random), adapted_weights(fitted), strict=True):
        torch.testing.assert_close(one.delta_W().norm(), other.delta_W().norm(), atol=0, rtol=1e-4)
        overlap = (one.delta_W() * other.delta_W()).sum() / one.delta_W().norm().square()
        assert overlap.abs() < 0.1


def test_random_weights_keep_their_norm():
    model, original = load_gpt2(), load_gpt2()
    qlora.randomise(model)
    for new, old in zip(dense_layers(model).values(), dense_layers(original).values(), strict=True):
        torch.testing.assert_close(new.weight.norm(), old.weight.norm())
        assert (new.weight * old.weight).sum().abs() < 0.1 * old.weight.norm().square()


def test_five_rounds_are_the_default():
    W = normal(48, 64)
    for mine, five in zip(loftq(W, 4, THREE), loftq(W, 4, THREE, rounds=5), strict=True):
        assert torch.equal(mine, five)
    assert not torch.equal(loftq(W, 4, THREE)[1], loftq(W, 4, THREE, rounds=4)[1])
    assert inspect.signature(use_loftq).parameters["rounds"].default == 5
