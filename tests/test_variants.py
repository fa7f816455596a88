"""rsLoRA, LoRA+, PiSSA and DoRA against PEFT, and what each promises at the start."""

import math
import warnings

import peft
import pytest
import torch
from torch import nn

from lora_lab.gpt2 import apply_lora_to_gpt2, random_gpt2
from lora_lab.loftq import use_loftq
from lora_lab.lora import LinearWithLoRA
from lora_lab.merging import adapted_weights, merge, unmerge
from lora_lab.quantized_layers import quantize_gpt2
from lora_lab.variants import (
    DoRALayer,
    lora_plus_groups,
    use_dora,
    use_pissa,
    use_random_directions,
    use_rslora,
)

ALL = ("q", "k", "v", "o", "fc", "proj")
IDS = torch.randint(0, 100, (3, 12), generator=torch.Generator().manual_seed(5))


def adapted_gpt2(rank=4, alpha=12, targets=ALL):
    torch.manual_seed(0)
    return apply_lora_to_gpt2(random_gpt2(), rank, alpha, targets)


@torch.no_grad()
def logits(model):
    return model(IDS).logits


@torch.no_grad()
def give_B_numbers(model):
    draw = torch.Generator().manual_seed(6)
    for _, layer in adapted_weights(model):
        layer.B.add_(0.1 * torch.randn(layer.B.shape, generator=draw))
    return model


def B_of(number):
    """A change of a model that fills all B with `number`."""

    def change(model):
        for _, layer in adapted_weights(model):
            nn.init.constant_(layer.B, number)
        return model

    return change


def linear_in_peft(**options):
    """A Linear 20 -> 12 in PEFT, its LoRA layer, and a copy of its weight."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(20, 12))
    W0 = network[0].weight.detach().clone()
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(network, config)
    return model, model.base_model.model[0], W0


# Which weight belongs to which layer


def test_adapted_weights_are_views_of_the_weights_that_the_layers_adapt():
    """A change of the weight and the same change by the layer give the same output."""
    for number in range(2 * len(ALL)):
        by_weight, by_layer = adapted_gpt2(), adapted_gpt2()
        _, layer = adapted_weights(by_layer)[number]
        W0, _ = adapted_weights(by_weight)[number]
        with torch.no_grad():
            layer.B.copy_(torch.randn(layer.B.shape, generator=torch.Generator().manual_seed(number)))
            W0.add_(layer.delta_W())
        assert (logits(by_layer) - logits(adapted_gpt2())).abs().max() > 1e-2, number
        torch.testing.assert_close(logits(by_weight), logits(by_layer), atol=1e-3, rtol=1e-3)


def test_without_lora_or_merged_there_is_nothing_to_change():
    for change in (use_rslora, use_pissa, use_random_directions, use_dora):
        with pytest.raises(ValueError, match="has no LoRA"):
            change(random_gpt2())
        with pytest.raises(RuntimeError, match="merged"):
            change(merge(adapted_gpt2()))


@pytest.mark.parametrize("change", [use_rslora, use_pissa, use_random_directions, use_dora, use_loftq])
@pytest.mark.parametrize("first", [B_of(-0.1), B_of(0.1), use_pissa, use_dora])
def test_what_is_not_at_its_start_any_more_is_refused_and_nothing_changes(first, change):
    model = first(adapted_gpt2())
    before = logits(model)
    with pytest.raises(ValueError, match="not at its start here: change its scale, then how it starts, once"):
        change(model)
    assert torch.equal(logits(model), before)


# rsLoRA


def test_rslora_scales_as_peft_does():
    _, theirs, _ = linear_in_peft(use_rslora=True)
    ours = use_rslora(nn.Sequential(LinearWithLoRA(nn.Linear(20, 12), 3, 6)))
    assert ours[0].lora.scale == theirs.scaling["default"] == 6 / math.sqrt(3)


# PiSSA


@pytest.mark.parametrize("change", [use_pissa, use_random_directions])
def test_the_model_starts_unchanged_although_its_frozen_weights_have_changed(change):
    before, model = adapted_gpt2(), change(adapted_gpt2())
    torch.testing.assert_close(logits(model), logits(before), atol=1e-3, rtol=1e-3)
    pairs = list(zip(adapted_weights(before), adapted_weights(model), strict=True))
    assert len(pairs) == 12
    for (W0, _), (W_res, layer) in pairs:
        torch.testing.assert_close(W_res + layer.delta_W(), W0)
        s = torch.linalg.svdvals(W0)[:4]
        torch.testing.assert_close(torch.linalg.svdvals(layer.delta_W())[:4], s)
        torch.testing.assert_close(layer.A.norm(), layer.B.norm())


@pytest.mark.parametrize("change", [use_pissa, use_random_directions])
def test_a_weight_of_fewer_directions_than_the_rank_gives_a_start_that_is_finite(change):
    model = adapted_gpt2()
    for W0, _ in adapted_weights(model):
        W0.zero_()[0, 0] = 1
    before = logits(model)
    torch.testing.assert_close(logits(change(model)), before, atol=1e-3, rtol=1e-3)


def test_pissa_takes_the_largest_directions_and_its_control_does_not():
    for change, takes_them in ((use_pissa, True), (use_random_directions, False)):
        for (W0, _), (W_res, _) in zip(
            adapted_weights(adapted_gpt2()), adapted_weights(change(adapted_gpt2())), strict=True
        ):
            rest = torch.linalg.svdvals(W0)[4:].norm()
            assert torch.isclose(W_res.norm(), rest, rtol=1e-4) == takes_them


def test_pissa_is_pefts():
    _, theirs, W0 = linear_in_peft(init_lora_weights="pissa")
    base = nn.Linear(20, 12)
    base.weight.data.copy_(W0)
    ours = use_pissa(nn.Sequential(LinearWithLoRA(base, 3, 6)))[0]
    A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    torch.testing.assert_close(ours.lora.delta_W(), B @ A * 2)
    torch.testing.assert_close(ours.base.weight, theirs.base_layer.weight)
    torch.testing.assert_close(ours.lora.A.norm(dim=1), A.norm(dim=1))


@pytest.mark.parametrize("change", [use_pissa, use_random_directions])
def test_weights_in_4_bits_are_refused_and_nothing_changes(change):
    torch.manual_seed(0)
    model = apply_lora_to_gpt2(quantize_gpt2(random_gpt2()), 4, 12, ALL)
    before = logits(model)
    with pytest.raises(ValueError, match=r"LinearNF4 has no weight .* dequantise"):
        change(model)
    assert torch.equal(logits(model), before) and not adapted_weights(model)[0][1].B.any()


# LoRA+


def test_every_trained_number_is_in_one_group_and_only_b_has_the_larger_rate():
    model = use_dora(adapted_gpt2())  # has m, beside A and B
    others, B = lora_plus_groups(model, 0.01, 16)
    assert (others["lr"], B["lr"]) == (0.01, 0.16)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    grouped = [names[id(parameter)] for group in (others, B) for parameter in group["params"]]
    assert sorted(grouped) == sorted(names.values())
    assert all(names[id(parameter)].endswith(".B") for parameter in B["params"]) and len(B["params"]) == 12
    assert not any(names[id(parameter)].endswith(".B") for parameter in others["params"])


@pytest.mark.parametrize("numbers", [(0, 16), (0.01, -1)])
def test_rates_are_positive(numbers):
    with pytest.raises(ValueError, match="must be positive"):
        lora_plus_groups(adapted_gpt2(), *numbers)


# DoRA


def test_dora_starts_as_lora_does_bit_for_bit():
    assert torch.equal(logits(use_dora(adapted_gpt2())), logits(adapted_gpt2()))


def test_dora_has_one_number_more_for_each_row_and_keeps_a():
    plain, dora = adapted_gpt2(), use_dora(adapted_gpt2())
    for (W0, old), (_, new) in zip(adapted_weights(plain), adapted_weights(dora), strict=True):
        assert torch.equal(old.A, new.A) and new.m.shape == (len(W0),)
        assert all(parameter.requires_grad for parameter in (new.A, new.B, new.m))
        assert new.state_dict().keys() == {"A", "B", "m"}  # W0 is the base's to keep


def test_dora_is_pefts_in_outputs_and_gradients():
    model, theirs, W0 = linear_in_peft(use_dora=True)
    ours = DoRALayer(W0, 3, 6)
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(7, 20, generator=draw)
    m = theirs.lora_magnitude_vector["default"].weight
    with torch.no_grad():
        ours.A.copy_(theirs.lora_A["default"].weight)
        for mine, other in ((ours.B, theirs.lora_B["default"].weight), (ours.m, m)):
            other.add_(torch.randn(other.shape, generator=draw) * 0.3)
            mine.copy_(other)
    y, wanted = x @ W0.T + theirs.base_layer.bias + ours(x), model(x)
    assert (wanted - x @ W0.T - theirs.base_layer.bias).abs().max() > 0.1
    torch.testing.assert_close(y, wanted)
    for output in (y, wanted):
        output.square().sum().backward()
    for mine, other in (
        (ours.A, theirs.lora_A["default"].weight),
        (ours.B, theirs.lora_B["default"].weight),
        (ours.m, m),
    ):
        assert other.grad.abs().max() > 0.1
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_m_alone_changes_lengths_and_not_directions():
    layer = DoRALayer(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), 1, 1)
    assert layer.m.tolist() == [5, 2]
    with torch.no_grad():
        layer.m.copy_(torch.tensor([10.0, 1.0]))
    torch.testing.assert_close(layer.delta_W(), torch.tensor([[3.0, 4.0], [0.0, -1.0]]))


def test_a_row_of_zeros_stays_one_and_is_a_number():
    layer = DoRALayer(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).half(), 1, 1).half()
    assert not layer.delta_W().any()
    with torch.no_grad():
        layer.B.fill_(1.0)
    assert torch.isfinite(layer.delta_W()).all() and not layer.delta_W()[1].any()


def test_dora_merges_and_unmerges():
    model = give_B_numbers(use_dora(adapted_gpt2()))
    before = logits(model)
    assert (before - logits(random_gpt2())).abs().max() > 0.1
    torch.testing.assert_close(logits(merge(model)), before, atol=1e-3, rtol=1e-3)
    assert torch.equal(logits(unmerge(model)), before)


@pytest.mark.parametrize("numbers", [(-1e-3, 16), (1e-3, 0), (1e-3, -1)])
def test_a_rate_or_ratio_below_zero_is_refused(numbers):
    with pytest.raises(ValueError, match="must be positive"):
        lora_plus_groups(adapted_gpt2(), *numbers)


def test_a_ratio_of_one_is_plain_lora():
    assert {group["lr"] for group in lora_plus_groups(adapted_gpt2(), 1e-3, 1)} == {1e-3}
