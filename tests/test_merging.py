"""An update goes into the frozen weight and out again: what is computed, what is refused, what stays."""

import copy
import math

import pytest
import torch
from test_lora import adapted, both, dense, inputs, same, stored, with_update
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, random_gpt2
from lora_lab.lora import LinearWithLoRA, dense_weight
from lora_lab.merging import (
    Merged,
    adapted_weights,
    check_unmerged,
    is_merged,
    lora_modules,
    merge,
    unmerge,
    without_lora,
)

IDS = torch.randint(0, 100, (2, 9), generator=torch.Generator().manual_seed(3))


def layer_and_model():
    """A layer with an update, in a model between two others."""
    layer = with_update(adapted(dense()))
    return layer, nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(6, 6)).eval()


def gpt2_with_updates(targets=ALL_TARGETS):
    torch.manual_seed(4)
    model = apply_lora_to_gpt2(random_gpt2(), 2, 6, targets)
    for _, lora in adapted_weights(model):
        nn.init.normal_(lora.B, std=0.3)
    return model


def close(output, expected):
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


# What is computed


@both
def test_merged_and_unmerged_outputs_are_equal(kind):
    layer = with_update(adapted(dense(kind)))
    close(merge(layer)(inputs()), layer(inputs()))


@both
def test_what_a_bare_layer_is_merged_into_runs_one_dense_layer(kind):
    merged = merge(with_update(adapted(dense(kind))))
    assert type(merged.base) is kind and is_merged(merged)
    assert torch.equal(merged(inputs()), merged.base(inputs()))


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_sum_is_taken_in_float32_and_rounded_once(kind, dtype):
    layer = with_update(adapted(dense(kind, in_features=64, out_features=48).to(dtype)))
    W0, A, B = (W.detach() for W in (dense_weight(layer.base), layer.lora.A, layer.lora.B))
    precise = torch.promote_types(dtype, torch.float32)
    once = (W0.to(precise) + (B.to(precise) @ A.to(precise)) * layer.lora.scale).to(dtype)
    assert torch.equal(dense_weight(merge(layer).base), once)
    exact = W0.double() + (B.double() @ A.double()) * layer.lora.scale
    rounded = exact.to(dtype)  # a float32 sum may fall on the other side of a tie, and rarely does
    assert (once == rounded).float().mean() > (0.99 if dtype is not torch.float32 else 0.5)


def test_rounding_the_update_before_the_sum_would_give_other_weights_in_bfloat16():
    layer = with_update(adapted(dense(in_features=64, out_features=48).bfloat16()))
    twice = layer.base.weight + layer.lora.delta_W()
    assert (merge(layer).base.weight != twice).float().mean() > 0.05


def test_a_whole_model_merges_in_place():
    _, model = layer_and_model()
    before = model(inputs())
    assert merge(model) is model and isinstance(model[1], Merged)
    close(model(inputs()), before)


def test_a_target_inside_an_attention_that_has_lora_is_merged_too():
    model = gpt2_with_updates(("c_attn", "o"))
    before = model(IDS).logits
    assert (before - random_gpt2()(IDS).logits).abs().max() > 0.1
    merge(model)
    assert not lora_modules(model)
    close(model(IDS).logits, before)
    unmerge(model)
    assert torch.equal(model(IDS).logits, before)


def test_a_merged_gpt2_runs_under_both_implementations_of_attention():
    model = gpt2_with_updates()
    before = model(IDS).logits
    merge(model)
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        assert model.transformer.h[0].attn.base.config is model.config
        close(model(IDS).logits, before)


def test_merging_into_a_tied_weight_leaves_the_other_layer_as_it_was():
    model = nn.ModuleDict({"embedding": nn.Embedding(6, 8), "head": nn.Linear(8, 6, bias=False)})
    model["head"].weight = model["embedding"].weight
    model["head"] = with_update(adapted(model["head"]))
    embedding, head = model["embedding"].weight.clone(), model["head"](inputs())
    merge(model)
    assert torch.equal(model["embedding"].weight, embedding)
    close(model["head"](inputs()), head)
    assert unmerge(model)["head"].base.weight is model["embedding"].weight


def test_a_class_that_a_reader_wrote_is_merged_as_the_packages_is():
    class LinearWithLoRA(nn.Module):
        def __init__(self, base, lora):
            super().__init__()
            self.base, self.lora = base, lora

        def forward(self, x):
            return self.base(x) + self.lora(x)

    layer = with_update(adapted(dense()))
    theirs = LinearWithLoRA(layer.base, layer.lora)
    merged = merge(theirs)
    assert is_merged(merged) and torch.equal(merged.base.weight, merge(layer).base.weight)
    assert unmerge(merged) is theirs


# Out again


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_unmerging_gives_the_very_layer_back_bit_for_bit(kind, dtype):
    layer = with_update(adapted(dense(kind).to(dtype)))
    before = stored(layer)
    merged = merge(layer)
    assert not torch.equal(merged.base.weight, layer.base.weight)
    assert unmerge(merged) is layer
    assert same(stored(layer), before)


def test_in_bfloat16_subtracting_the_update_would_not_give_the_weight_back():
    layer = with_update(adapted(dense(in_features=64, out_features=48).bfloat16()))
    before = layer.base.weight.clone()
    merged = merge(layer)
    assert not torch.equal(merged.base.weight - layer.lora.delta_W(), before)
    assert torch.equal(unmerge(merged).base.weight, before)


def test_merging_twice_is_merging_once_and_again_after_unmerging():
    _, model = layer_and_model()
    once = stored(merge(model))
    assert same(stored(merge(model)), once)
    assert same(stored(merge(unmerge(model))), once)


def test_a_model_that_is_not_merged_or_has_no_lora_stays_as_it_is():
    layer, model = layer_and_model()
    before = stored(model)
    assert unmerge(model) is model and model[1] is layer and same(stored(model), before)
    plain = dense()
    assert unmerge(merge(plain)) is plain


def test_the_mode_is_the_one_that_was_set_meanwhile():
    _, model = layer_and_model()
    assert not unmerge(merge(model.train()).eval())[1].training
    assert unmerge(merge(model.eval()).train())[1].lora.dropout.training


def test_a_deep_copy_of_a_merged_model_works_by_itself():
    layer, model = layer_and_model()
    before = stored(model)
    clone = copy.deepcopy(merge(model))
    assert torch.equal(clone(inputs()), model(inputs()))
    unmerge(clone)
    assert same(stored(clone), before) and clone[1] is not layer
    clone.load_state_dict(clone.state_dict())
    assert is_merged(model)
    with pytest.raises(RuntimeError, match="before loading"):
        model.load_state_dict(clone.state_dict())
    assert unmerge(model)[1] is layer and same(stored(model), before)


# What is refused


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_refused_and_no_layer_is_merged(number):
    first, model = layer_and_model()
    model[2] = bad = adapted(model[2])
    with torch.no_grad():
        bad.lora.B[3, 1] = number
    with pytest.raises(ValueError, match=r"of '2' holds a NaN or infinite number"):
        merge(model)
    assert model[1] is first and model[2] is bad


def test_training_while_merged_is_refused_and_works_again_afterwards():
    layer, model = layer_and_model()
    merge(model.train())
    with pytest.raises(RuntimeError, match="cannot be trained"):
        model(inputs())
    unmerge(model)(inputs()).sum().backward()
    assert layer.lora.A.grad.any()


def test_a_merged_layer_runs_in_eval_mode_and_without_gradients():
    merged = merge(with_update(adapted(dense())).train())
    with torch.no_grad():
        expected = merged(inputs())
    assert torch.equal(merged.eval()(inputs()), expected)


def test_saving_while_merged_is_refused_and_works_again_afterwards():
    _, model = layer_and_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merge(model)
    for part in (model, model[1]):
        with pytest.raises(RuntimeError, match="before saving"):
            part.state_dict()
    assert same(unmerge(model).state_dict(), before)


def test_loading_while_merged_is_refused_before_any_weight_is_copied():
    layer, model = layer_and_model()
    other = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    before = stored(merge(model))
    with pytest.raises(RuntimeError, match=r"call unmerge\(model\) before loading"):
        model.load_state_dict(other)
    assert same(stored(model), before)
    unmerge(model).load_state_dict(other)
    assert torch.equal(layer.lora.A, other["1.lora.A"])


def test_loading_into_a_bare_merged_layer_is_refused():
    merged = merge(with_update(adapted(dense())))
    before = stored(merged)
    with pytest.raises(RuntimeError, match="before loading"):
        merged.load_state_dict(
            {f"base.{name}": tensor for name, tensor in dense(seed=9).state_dict().items()}
        )
    assert same(stored(merged), before)


def test_nothing_is_left_on_a_model_that_was_merged():
    _, model = layer_and_model()
    attributes, hooks = set(vars(model)), len(model._load_state_dict_pre_hooks)
    unmerge(merge(model))
    assert set(vars(model)) == attributes and len(model._load_state_dict_pre_hooks) == hooks


@pytest.mark.parametrize("merged", [False, True])
def test_train_and_eval_never_change_weights(merged):
    _, model = layer_and_model()
    if merged:
        merge(model)
    before = stored(model)
    for switched in (model.train(), model.eval(), model.train(False)):
        assert switched is model and is_merged(model) == merged
    assert same(stored(model), before)


def test_there_is_one_check_for_merged():
    _, model = layer_and_model()
    check_unmerged(model)
    merge(model)
    for refusing in (check_unmerged, adapted_weights):
        with pytest.raises(RuntimeError, match=r"LoRA is merged here: call unmerge\(model\) first"):
            refusing(model)
    with pytest.raises(RuntimeError, match="merged"), without_lora(model):
        pass


# Without LoRA, for a while


@pytest.mark.parametrize("targets", [ALL_TARGETS, ("c_attn", "o"), ("q",), ("proj",)])
def test_without_lora_a_model_answers_as_its_base_and_with_it_again_afterwards(targets):
    model = gpt2_with_updates(targets)
    before, base = model(IDS).logits, random_gpt2()(IDS).logits
    assert (before - base).abs().max() > 0.1
    close(base, random_gpt2()(IDS).logits)
    with without_lora(model) as same_model:
        assert same_model is model and not lora_modules(model)
        close(model(IDS).logits, base)
    assert torch.equal(model(IDS).logits, before)


def test_without_lora_a_bare_layer_is_its_frozen_layer():
    layer = with_update(adapted(dense(Conv1D)))
    with without_lora(layer) as base:
        assert torch.equal(base(inputs()), layer.base(inputs()))
        assert not torch.allclose(base(inputs()), layer(inputs()), atol=0.1)


def test_lora_is_back_after_an_error_and_in_the_mode_that_was_set_meanwhile():
    layer, model = layer_and_model()
    model.train()
    with pytest.raises(ZeroDivisionError), without_lora(model):
        model.eval()
        _ = 1 / 0
    assert model[1] is layer and not layer.training and not layer.lora.dropout.training


# Which weight belongs to which update


def test_adapted_weights_pair_each_update_with_a_view_of_its_weight():
    model = gpt2_with_updates(("q", "v", "o", "proj"))
    pairs = adapted_weights(model)
    assert [tuple(W0.shape) for W0, _ in pairs] == 2 * [(64, 64), (64, 64), (64, 64), (64, 256)]
    attention = model.transformer.h[1].attn
    W0 = next(W0 for W0, lora in pairs if lora is attention.lora["v"])
    with torch.no_grad():
        W0[3, 5] = 7  # output 3 of V, input 5
    assert attention.base.c_attn.weight[5, 2 * 64 + 3] == 7


def test_a_model_without_lora_has_no_adapted_weights():
    with pytest.raises(ValueError, match="has no LoRA"):
        adapted_weights(nn.Sequential(nn.Linear(3, 3)))
    assert lora_modules(nn.Sequential(LinearWithLoRA(nn.Linear(3, 3), 1, 1))) != []
