"""GPT-2's attention with LoRA on q, k, v and o, against the attention of transformers and against PEFT."""

import copy
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import DynamicCache, GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention

from lora_lab.attention import (
    SelfAttentionWithLoRA,
    check_attention,
    masked_softmax,
    projection,
    split_heads,
)
from lora_lab.gpt2 import apply_lora_to_gpt2, random_gpt2
from lora_lab.merging import lora_modules, merge, unmerge

WIDTH, RANK, ALPHA = 64, 2, 6
IDS = torch.randint(1, 100, (2, 9), generator=torch.Generator().manual_seed(0))
UNPADDED = torch.ones_like(IDS)
LEFT_PADDED = UNPADDED.clone()
LEFT_PADDED[0, :4] = 0

implementations = pytest.mark.parametrize("implementation", ["sdpa", "eager"])
paddings = pytest.mark.parametrize("mask", [UNPADDED, LEFT_PADDED], ids=["unpadded", "left padded"])


def close(ours, theirs):
    tolerance = 1e-5 if ours.dtype == torch.float32 else 1e-10
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def adapted_gpt2(targets=("q", "k", "v", "o"), **config):
    """A GPT-2 with LoRA in which every B has moved away from zero."""
    torch.manual_seed(0)
    model = apply_lora_to_gpt2(random_gpt2(**config), RANK, ALPHA, targets)
    for name, parameter in model.named_parameters():
        if name.endswith(".B"):
            nn.init.normal_(parameter, std=0.1)
    return model


def plain_gpt2_with_updates_of(adapted, **config):
    """A GPT-2 of transformers alone, its weights changed by hand into W0 + (alpha / r) B A."""
    plain = random_gpt2(**config).to(adapted.dtype)
    for block, source in zip(plain.transformer.h, adapted.transformer.h, strict=True):
        for name, layer in source.attn.lora.items():
            delta_W = ALPHA / RANK * layer.B @ layer.A  # (out, in); Conv1D stores (in, out)
            if name == "o":
                block.attn.c_proj.weight.data += delta_W.T
            else:
                start = "qkv".index(name) * WIDTH
                block.attn.c_attn.weight.data[:, start : start + WIDTH] += delta_W.T
    return plain


def models(implementation, **config):
    """Ours, and the same function in transformers alone, both in float64: what differs is no rounding."""
    config["attn_implementation"] = implementation
    ours = adapted_gpt2(**config).double()
    return ours, plain_gpt2_with_updates_of(ours, **config)


def positions(mask):
    return (mask.cumsum(1) - 1).clamp(min=0)


# Equal to transformers


@implementations
def test_the_updates_of_these_tests_change_the_logits(implementation):
    ours = adapted_gpt2(attn_implementation=implementation)
    assert (ours(IDS).logits - random_gpt2()(IDS).logits).abs().max() > 1


@implementations
@paddings
def test_without_an_update_logits_are_those_of_transformers(implementation, mask):
    plain = random_gpt2(attn_implementation=implementation)
    ours = apply_lora_to_gpt2(copy.deepcopy(plain), RANK, ALPHA)
    real = mask.bool()
    close(ours(IDS, attention_mask=mask).logits[real], plain(IDS, attention_mask=mask).logits[real])


@implementations
@paddings
def test_logits_are_those_of_transformers_with_changed_weights(implementation, mask):
    ours, theirs = models(implementation)
    inputs = {"attention_mask": mask, "position_ids": positions(mask)}
    real = mask.bool()
    close(ours(IDS, **inputs).logits[real], theirs(IDS, **inputs).logits[real])


@implementations
@paddings
@pytest.mark.parametrize("steps", [[4, 1, 1, 1, 1, 1], [1] * 9, [3, 4, 2]], ids=str)
def test_logits_with_a_cache_are_those_of_transformers_without_one(implementation, mask, steps):
    ours, theirs = models(implementation)
    expected = theirs(IDS, attention_mask=mask, position_ids=positions(mask)).logits
    cache, logits, seen = None, [], 0
    for count in steps:
        now = slice(seen, seen + count)
        seen += count
        inputs = {"attention_mask": mask[:, :seen], "position_ids": positions(mask)[:, now]}
        output = ours(IDS[:, now], past_key_values=cache, use_cache=True, **inputs)
        cache = output.past_key_values
        logits.append(output.logits)
    close(torch.cat(logits, dim=1)[mask.bool()], expected[mask.bool()])


@implementations
@paddings
def test_generated_tokens_are_those_of_transformers(implementation, mask):
    ours, theirs = models(implementation)
    greedy = {"attention_mask": mask, "do_sample": False, "min_new_tokens": 20, "max_new_tokens": 20}
    tokens = ours.generate(IDS, **greedy)
    assert tokens.tolist() == theirs.generate(IDS, **greedy).tolist()
    assert tokens.tolist() != random_gpt2().generate(IDS, **greedy).tolist()


@implementations
def test_generated_tokens_with_a_cache_of_fixed_length_are_those_of_transformers(implementation):
    ours, theirs = models(implementation)
    greedy = {"attention_mask": UNPADDED, "do_sample": False, "min_new_tokens": 8, "max_new_tokens": 8}
    greedy["cache_implementation"] = "static"
    assert ours.generate(IDS, **greedy).tolist() == theirs.generate(IDS, **greedy).tolist()


@pytest.mark.parametrize("setting", ["scale_attn_weights", "scale_attn_by_inverse_layer_idx"])
def test_another_scaling_of_the_scores_is_that_of_transformers(setting):
    config = {setting: setting != "scale_attn_weights"}
    ours, theirs = models("sdpa", **config)
    assert (theirs(IDS).logits - models("sdpa")[1](IDS).logits).abs().max() > 0.1
    close(ours(IDS).logits, theirs(IDS).logits)


@pytest.mark.parametrize("heads", [1, 8])
def test_another_number_of_heads_is_that_of_transformers(heads):
    ours, theirs = models("sdpa", n_head=heads)
    close(ours(IDS).logits, theirs(IDS).logits)


def test_gradients_of_the_update_are_those_of_the_changed_weights():
    ours, theirs = models("sdpa")
    for model in (ours, theirs):
        model(IDS, labels=IDS).loss.backward()
    attention, c_attn = ours.transformer.h[0].attn, theirs.transformer.h[0].attn.c_attn
    for n, name in enumerate("qkv"):
        G = c_attn.weight.grad.T[n * WIDTH : (n + 1) * WIDTH]  # (out, in)
        layer = attention.lora[name]
        close(layer.B.grad, ALPHA / RANK * G @ layer.A.T)
        close(layer.A.grad, ALPHA / RANK * layer.B.T @ G)


def test_dropout_in_training_falls_where_it_does_in_transformers():
    config = {"attn_pdrop": 0.5, "resid_pdrop": 0.3, "embd_pdrop": 0.1}
    ours, theirs = models("eager", **config)
    outputs = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(0)
        outputs.append(model(IDS).logits)
    assert (outputs[0] - ours.eval()(IDS).logits).abs().max() > 1
    close(*outputs)


def test_training_with_dropout_gives_every_update_a_gradient():
    model = adapted_gpt2(attn_pdrop=0.5).train()
    model(IDS, labels=IDS).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * 4 * 2  # layers, targets, A and B
    assert all(p.grad.isfinite().all() and p.grad.any() for p in trained)


# Masks


def test_a_later_token_changes_later_logits_and_no_earlier_ones():
    ours = adapted_gpt2()
    other = IDS.clone()
    other[:, 5] = (other[:, 5] + 1) % 100
    difference = (ours(IDS).logits - ours(other).logits).abs().amax(dim=(0, 2))
    assert (difference[:5] == 0).all()
    assert (difference[5:] > 0.01).all()


def test_each_query_sees_itself_and_the_keys_before_it():
    weights = masked_softmax(torch.zeros(1, 1, 3, 3))
    expected = torch.tensor([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(weights[0, 0], expected)


def test_the_last_of_fewer_queries_is_the_last_key():
    weights = masked_softmax(torch.zeros(1, 1, 2, 4))
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0], [1 / 4, 1 / 4, 1 / 4, 1 / 4]])
    torch.testing.assert_close(weights[0, 0], expected)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_mask_hides_keys_in_addition_to_later_ones(kind):
    seen = torch.tensor([False, True, True]).expand(1, 1, 3, 3)
    mask = seen if kind == "bool" else torch.zeros(1, 1, 3, 3).masked_fill(~seen, torch.finfo().min)
    weights = masked_softmax(torch.zeros(1, 1, 3, 3), mask)
    torch.testing.assert_close(weights[0, 0, 1:], torch.tensor([[0, 1, 0], [0, 1 / 2, 1 / 2]]))


@implementations
def test_a_wholly_padded_row_stays_finite_and_leaves_the_others_alone(implementation):
    ours, theirs = models(implementation)
    mask = UNPADDED.clone()
    mask[0] = 0
    logits = ours(IDS, attention_mask=mask).logits
    assert logits.isfinite().all()
    close(logits[1], theirs(IDS[1:]).logits[0])


def test_heads_are_consecutive_slices_of_the_width():
    x = torch.arange(2 * 3 * 8).view(2, 3, 8)
    heads = split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert torch.equal(heads[1, 2], x[1, :, 4:6])


# Which columns of the fused weight belong to which target


@pytest.mark.parametrize(("name", "start"), [("q", 0), ("k", WIDTH), ("v", 2 * WIDTH)])
def test_an_update_of_one_target_changes_its_third_of_c_attn_alone(name, start):
    attention = adapted_gpt2((name,)).transformer.h[0].attn
    change = merge(attention).base.c_attn.weight - attention.base.c_attn.weight  # (in, out)
    changed = change.any(dim=0).nonzero().flatten().tolist()
    assert changed == list(range(start, start + WIDTH))
    assert torch.equal(merge(attention).base.c_proj.weight, attention.base.c_proj.weight)


def test_an_update_of_o_changes_c_proj_alone():
    attention = adapted_gpt2(("o",)).transformer.h[0].attn
    merged = merge(attention).base
    assert torch.equal(merged.c_attn.weight, attention.base.c_attn.weight)
    assert not torch.equal(merged.c_proj.weight, attention.base.c_proj.weight)


@pytest.mark.parametrize("name", ["q", "k", "v", "o"])
def test_a_one_hot_update_comes_out_of_the_merged_layer_where_it_should(name):
    model = apply_lora_to_gpt2(random_gpt2(), RANK, alpha=RANK, targets=(name,))  # scale 1
    attention = model.transformer.h[0].attn
    layer = attention.lora[name]
    with torch.no_grad():
        layer.A.zero_()[1, 25] = 3
        layer.B.zero_()[32, 1] = 12
    merge(model)
    before, after = (projection(a, name) for a in (attention.base, model.transformer.h[0].attn.base))
    changed = (after.weight - before.weight).nonzero().tolist()
    assert changed == [[25, {"q": 32, "k": 96, "v": 160, "o": 32}[name]]]  # (in, out)


@pytest.mark.parametrize(
    "targets", [("q",), ("k",), ("v",), ("o",), ("v", "q"), ("q", "k", "v", "o")], ids="".join
)
def test_merged_and_unmerged_logits_are_equal(targets):
    ours = adapted_gpt2(targets)
    unmerged = ours(IDS).logits
    assert (unmerged - random_gpt2()(IDS).logits).abs().max() > 0.1
    close(merge(ours)(IDS).logits, unmerged)
    assert torch.equal(unmerge(ours)(IDS).logits, unmerged)


def test_merged_weights_are_those_changed_by_hand():
    ours = adapted_gpt2()
    theirs = plain_gpt2_with_updates_of(ours)
    merge(ours)
    for block, expected in zip(ours.transformer.h, theirs.transformer.h, strict=True):
        torch.testing.assert_close(block.attn.base.c_attn.weight, expected.attn.c_attn.weight)
        torch.testing.assert_close(block.attn.base.c_proj.weight, expected.attn.c_proj.weight)


# PEFT


def peft_model(target_modules, rank, alpha):
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=target_modules, fan_in_fan_out=True)
    return get_peft_model(random_gpt2(), config).eval()


def fill(peft_layer, A, B):
    peft_layer.lora_A["default"].weight.data = A.detach().clone()
    peft_layer.lora_B["default"].weight.data = B.detach().clone()


def test_one_fused_adapter_of_peft_with_a_block_diagonal_b_is_the_same_function():
    ours = adapted_gpt2()
    theirs = peft_model(["c_attn", "attn.c_proj"], rank=3 * RANK, alpha=3 * ALPHA)  # the same alpha / r
    for block, target in zip(ours.transformer.h, theirs.base_model.model.transformer.h, strict=True):
        q, k, v, o = (block.attn.lora[name] for name in "qkvo")
        fill(target.attn.c_attn, torch.cat([q.A, k.A, v.A]), torch.block_diag(q.B, k.B, v.B))
        rest = 2 * RANK
        padded_A, padded_B = nn.functional.pad(o.A, (0, 0, 0, rest)), nn.functional.pad(o.B, (0, rest))
        fill(target.attn.c_proj, padded_A, padded_B)
    close(ours(IDS).logits, theirs(IDS).logits)
    close(ours(IDS, attention_mask=LEFT_PADDED).logits[1], theirs(IDS, attention_mask=LEFT_PADDED).logits[1])


def test_one_fused_adapter_of_peft_with_empty_rows_for_k_is_the_same_function_on_q_and_v():
    ours = adapted_gpt2(("q", "v"))
    theirs = peft_model(["c_attn"], rank=2 * RANK, alpha=2 * ALPHA)
    for block, target in zip(ours.transformer.h, theirs.base_model.model.transformer.h, strict=True):
        q, v = block.attn.lora["q"], block.attn.lora["v"]
        nothing = torch.zeros(WIDTH, 0)
        fill(target.attn.c_attn, torch.cat([q.A, v.A]), torch.block_diag(q.B, nothing, v.B))
    close(ours(IDS).logits, theirs(IDS).logits)


def test_the_attention_inside_is_frozen():
    layer = SelfAttentionWithLoRA(attention(), RANK, ALPHA, ("q",))
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["lora.q.A", "lora.q.B"]


# What is refused


def attention(**config):
    settings = {"n_embd": WIDTH, "n_head": 4, "n_layer": 1, "vocab_size": 100, "n_positions": 16}
    is_cross_attention = config.pop("is_cross_attention", False)
    config = GPT2Config(bos_token_id=0, eos_token_id=0, **settings, **config)
    return GPT2Attention(config, is_cross_attention=is_cross_attention, layer_idx=0)


def assert_refused(layer, kind, message, rank=RANK, alpha=ALPHA, **options):
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    with pytest.raises(kind, match=message):
        SelfAttentionWithLoRA(layer, rank, alpha, **options)
    for name, parameter in layer.named_parameters():
        assert parameter.requires_grad and torch.equal(parameter, before[name])


@pytest.mark.parametrize("targets", [(), [], "qv", "q", ("q", "x"), ("c_attn",), ("q", 1)], ids=repr)
def test_targets_that_are_not_of_this_layer_are_named(targets):
    assert_refused(attention(), ValueError, "targets must be some of", targets=targets)


def test_a_target_named_twice_is_refused():
    assert_refused(attention(), ValueError, r"once, got \('q', 'q'\)", targets=("q", "q"))


def test_cross_attention_is_refused():
    assert_refused(attention(is_cross_attention=True), ValueError, "only self-attention")


def test_a_model_that_has_cross_attention_beside_it_is_refused():
    assert_refused(attention(add_cross_attention=True), ValueError, "cross-attention is not implemented")


def test_reordered_and_upcast_attention_is_refused():
    assert_refused(attention(reorder_and_upcast_attn=True), ValueError, "reorder_and_upcast_attn=True")


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.MultiheadAttention(4, 2)], ids=repr)
def test_what_is_no_gpt2_attention_is_named(layer):
    assert_refused(layer, TypeError, f"got {type(layer).__name__}")


def test_attention_wrapped_twice_is_refused():
    model = adapted_gpt2()
    with pytest.raises(TypeError, match="has LoRA already"):
        SelfAttentionWithLoRA(model.transformer.h[0].attn, RANK, ALPHA)
    assert len(lora_modules(model)) == 2


@pytest.mark.parametrize(("rank", "kind"), [(0, ValueError), (WIDTH + 1, ValueError), (2.0, TypeError)])
def test_a_bad_rank_is_named(rank, kind):
    assert_refused(attention(), kind, f"rank must be .* got {rank}", rank=rank)


def test_a_bad_alpha_is_named():
    assert_refused(attention(), ValueError, "alpha must be .* got 0", alpha=0)


def test_a_layer_that_says_nothing_of_other_kinds_of_attention_is_taken():
    layer = random_gpt2().transformer.h[0].attn
    parts = {name: getattr(layer, name) for name in ("c_attn", "c_proj", "embed_dim", "num_heads", "scaling")}
    check_attention(SimpleNamespace(**parts), ("q", "v"))


def test_without_being_asked_for_there_is_no_dropout_in_any_update():
    layer = SelfAttentionWithLoRA(random_gpt2().transformer.h[0].attn, 2, 4)
    assert {lora.dropout.p for lora in layer.lora.values()} == {0.0}


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_is_attended_to_by_either_of_its_names(name):
    """transformers 5.24 calls it `cache`, and versions before it `past_key_values`."""
    model = random_gpt2()
    layer = SelfAttentionWithLoRA(model.transformer.h[0].attn, 2, 4)
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))
    cache = DynamicCache(config=model.config)
    steps = [layer(x[:, i : i + 1], **{name: cache})[0] for i in range(5)]
    torch.testing.assert_close(torch.cat(steps, dim=1), layer(x)[0])
