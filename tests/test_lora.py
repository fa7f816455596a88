"""LoRA on one layer: the update, its gradients and merging, against autograd, a dense layer and PEFT."""

import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from lora_lab.lora import LinearWithLoRA, LoRALayer, dense_weight
from lora_lab.merging import merge


def dense(kind=nn.Linear, in_features=8, out_features=6, seed=0):
    """A layer in -> out that stores its weight as (out, in), or for Conv1D as (in, out)."""
    torch.manual_seed(seed)
    layer = nn.Linear(in_features, out_features) if kind is nn.Linear else Conv1D(out_features, in_features)
    return layer.requires_grad_(True)


def adapted(base, rank=2, alpha=6, **options):
    layer = LinearWithLoRA(base, rank, alpha, **options)
    return layer.eval()


def with_update(layer):
    """The same layer with a B that is not zero."""
    torch.manual_seed(1)
    nn.init.normal_(layer.lora.B)
    return layer


def inputs(*shape, seed=2):
    return torch.randn(*(shape or (5, 8)), generator=torch.Generator().manual_seed(seed))


def stored(layer):
    """A copy of every parameter of `layer`, also while it is merged."""
    return {name: p.detach().clone() for name, p in layer.named_parameters()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


both = pytest.mark.parametrize("kind", [nn.Linear, Conv1D])


# At the start


@both
def test_the_update_is_nothing_at_the_start_bit_for_bit(kind):
    base, x = dense(kind), inputs()
    before = base(x)
    layer = adapted(base)
    assert torch.equal(layer(x), before)
    assert not torch.allclose(with_update(layer)(x), before, atol=0.1)


def test_a_starts_uniform_within_one_over_the_root_of_the_inputs_and_b_at_zero():
    torch.manual_seed(0)
    layer, bound = LoRALayer(400, 30, rank=20, alpha=40), 1 / math.sqrt(400)
    assert 0.99 * bound < layer.A.max() <= bound and -bound <= layer.A.min() < -0.99 * bound
    assert layer.A.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not layer.B.any()


def test_the_start_follows_the_law_of_peft():
    torch.manual_seed(0)
    ours = LoRALayer(400, 30, rank=20, alpha=40)
    theirs = peft_model(nn.Sequential(nn.Linear(400, 30)), rank=20, alpha=40).base_model.model[0]
    A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    assert ours.A.shape == A.shape and ours.B.shape == B.shape
    assert ours.A.std().item() == pytest.approx(A.std().item(), rel=0.02)
    assert ours.A.abs().max().item() == pytest.approx(A.abs().max().item(), rel=0.01)
    assert not B.any()
    assert ours.scale == theirs.scaling["default"] == 2


def test_the_update_has_the_type_of_the_frozen_weight():
    layer = adapted(dense().to(torch.float64))
    assert layer.lora.A.dtype == layer.lora.B.dtype == torch.float64


# Which way round


def hand_made(kind):
    base = nn.Linear(4, 6, bias=False) if kind is nn.Linear else Conv1D(6, 4)
    layer = adapted(base, rank=2, alpha=1)  # scale 1/2
    with torch.no_grad():
        base.weight.fill_(3)
        layer.lora.A.copy_(torch.arange(1.0, 9).view(2, 4))
        layer.lora.B.copy_(torch.arange(1.0, 13).view(6, 2))
    return layer


@both
def test_the_merged_weight_of_the_hand_made_case(kind):
    layer = merge(hand_made(kind))
    weight = layer.base.weight.T if kind is Conv1D else layer.base.weight
    assert weight[0].tolist() == [8.5, 10, 11.5, 13]
    assert weight[-1].tolist() == [38.5, 50, 61.5, 73]


@both
def test_the_output_of_the_hand_made_case(kind):
    output = hand_made(kind)(torch.tensor([0.0, 0, 1, 0]))  # the third column of the merged weight
    assert output[0] == 11.5 and output[-1] == 61.5


@both
@pytest.mark.parametrize("merged", [False, True])
def test_a_one_hot_probe_comes_out_where_it_should(kind, merged):
    base = dense(kind, in_features=40, out_features=48)
    layer = adapted(base, rank=4, alpha=4)  # scale 1
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        base.weight[(5, 4) if kind is nn.Linear else (4, 5)] = 1  # input 4, output 5
        layer.lora.A[1, 25] = 3
        layer.lora.B[32, 1] = 12
    if merged:
        layer = merge(layer)
    response = layer(torch.eye(40))  # one row for each input
    assert response.nonzero().tolist() == [[4, 5], [25, 32]]
    assert response[4, 5] == 1 and response[25, 32] == 36


@both
def test_the_output_is_that_of_a_dense_layer_with_the_merged_weight(kind):
    base = dense(kind)
    layer = with_update(adapted(base, rank=2, alpha=6))
    weight = base.weight.T if kind is Conv1D else base.weight
    expected = F.linear(inputs(), weight + 6 / 2 * layer.lora.B @ layer.lora.A, base.bias)
    torch.testing.assert_close(layer(inputs()), expected, atol=1e-5, rtol=0)


def test_doubling_alpha_doubles_the_update_and_rank_divides_it():
    update = LoRALayer(8, 6, rank=2, alpha=6)
    nn.init.normal_(update.B)
    doubled = LoRALayer(8, 6, rank=2, alpha=12)
    doubled.load_state_dict(update.state_dict())
    torch.testing.assert_close(doubled(inputs()), 2 * update(inputs()))
    assert LoRALayer(8, 6, rank=4, alpha=6).scale == 1.5


# Gradients


def gradients(layer, x):
    layer(x).square().sum().backward()
    return {name: p.grad for name, p in layer.named_parameters()}


@both
def test_at_the_first_step_only_b_has_a_gradient(kind):
    grads = gradients(adapted(dense(kind)), inputs())
    assert not grads["lora.A"].any()
    assert grads["lora.B"].any()
    assert grads["base.weight"] is None and grads["base.bias"] is None


def test_once_b_has_moved_a_has_a_gradient_too():
    assert gradients(with_update(adapted(dense())), inputs())["lora.A"].any()


def test_if_both_start_at_zero_neither_ever_learns():
    layer = adapted(dense())
    nn.init.zeros_(layer.lora.A)
    train(layer, steps=5)
    assert not layer.lora.A.any() and not layer.lora.B.any()


@both
def test_gradients_follow_the_closed_formula(kind):
    layer = with_update(adapted(dense(kind).double()))
    x, C = inputs().double(), inputs(5, 6, seed=3).double()
    (layer(x) * C).sum().backward()
    G, s = C.T @ x, 3  # G = dL/dW, one rank-one matrix for each row of x
    torch.testing.assert_close(layer.lora.B.grad, s * G @ layer.lora.A.T)
    torch.testing.assert_close(layer.lora.A.grad, s * layer.lora.B.T @ G)


@both
def test_gradients_are_those_of_finite_differences(kind):
    layer = with_update(adapted(dense(kind).double()))
    A, B, x = layer.lora.A, layer.lora.B, inputs().double().requires_grad_()

    def output(x, A, B):
        return torch.func.functional_call(layer, {"lora.A": A, "lora.B": B}, (x,))

    assert torch.autograd.gradcheck(output, (x, A, B))


def train(model, steps, optimiser=torch.optim.AdamW):
    model.train()
    optimiser = optimiser([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        loss = (model(inputs(seed=step)) - inputs(5, 6, seed=100 + step)).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@both
def test_frozen_weights_are_bit_equal_after_training(kind):
    base = dense(kind)
    before = stored(base)
    layer = adapted(base)
    train(layer, steps=10)
    assert same(stored(base), before)
    assert layer.lora.A.any() and layer.lora.B.any()


# PEFT


def peft_model(model, rank=2, alpha=6, dropout=0.0):
    """`model` with PEFT's adapter on its first layer."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=["0"],
        fan_in_fan_out=isinstance(model[0], Conv1D),
    )
    return get_peft_model(model, config)


def pair(kind, dropout=0.0):
    """The same network twice, with our adapter and with PEFT's, and the same A and B."""
    base = nn.Sequential(dense(kind, 8, 6), nn.Tanh(), nn.Linear(6, 6)).requires_grad_(False)
    ours = copy.deepcopy(base)
    ours[0] = with_update(adapted(ours[0], dropout=dropout))
    theirs = peft_model(copy.deepcopy(base), dropout=dropout)
    A, B = peft_weights(theirs)
    A.data.copy_(ours[0].lora.A)
    B.data.copy_(ours[0].lora.B)
    return base, ours, theirs


def peft_weights(model):
    layer = model.base_model.model[0]
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


@both
def test_outputs_are_bit_equal_to_peft(kind):
    base, ours, theirs = pair(kind)
    assert not torch.allclose(ours(inputs()), base(inputs()), atol=0.1)
    assert torch.equal(ours(inputs()), theirs(inputs()))


@both
def test_gradients_are_bit_equal_to_peft(kind):
    _, ours, theirs = pair(kind)
    for model in (ours, theirs):
        model(inputs()).square().sum().backward()
    A, B = peft_weights(theirs)
    assert ours[0].lora.A.grad.any() and ours[0].lora.B.grad.any()
    assert torch.equal(ours[0].lora.A.grad, A.grad) and torch.equal(ours[0].lora.B.grad, B.grad)


@both
def test_fifty_steps_of_adamw_are_bit_equal_to_peft(kind):
    _, ours, theirs = pair(kind)
    before = stored(ours[0].lora)
    assert train(ours, 50) == train(theirs, 50)
    A, B = peft_weights(theirs)
    assert torch.equal(ours[0].lora.A, A) and torch.equal(ours[0].lora.B, B)
    assert not torch.allclose(before["A"], A, atol=0.01)


@both
def test_dropout_falls_on_the_same_inputs_as_in_peft(kind):
    _, ours, theirs = pair(kind, dropout=0.5)
    outputs = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(0)
        outputs.append(model(inputs()))
    assert not torch.equal(outputs[0], ours.eval()(inputs()))
    assert torch.equal(*outputs)


@both
def test_the_merged_weight_is_bit_equal_to_that_of_peft(kind):
    base, ours, theirs = pair(kind)
    merged = theirs.merge_and_unload()[0].weight
    assert not torch.equal(merged, base[0].weight)
    assert torch.equal(merge(ours)[0].base.weight, merged)


def test_dropout_acts_in_training_only():
    plain, dropped = with_update(adapted(dense())), with_update(adapted(dense(), dropout=0.5))
    dropped.load_state_dict(plain.state_dict())
    assert not torch.equal(dropped.train()(inputs()), plain(inputs()))
    assert torch.equal(dropped.eval()(inputs()), plain(inputs()))


# What is refused


@pytest.mark.parametrize("alpha", [0, -1, -0.5, math.nan, math.inf, True, "8", None], ids=repr)
def test_an_alpha_that_is_no_positive_number_is_named_and_the_base_stays_trainable(alpha):
    base = dense()
    with pytest.raises(ValueError, match="alpha must be a positive number") as error:
        LinearWithLoRA(base, 2, alpha)
    assert repr(alpha) in str(error.value)
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize(
    ("rank", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (7, ValueError),
        (2.0, TypeError),
        (True, TypeError),
        ("2", TypeError),
    ],
    ids=repr,
)
def test_a_bad_rank_is_named_and_the_base_stays_trainable(rank, kind):
    base = dense()
    with pytest.raises(kind, match=f"rank must be .* got {rank!r}"):
        LinearWithLoRA(base, rank, 4)
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("dropout", [-0.1, 1.5])
def test_a_bad_dropout_is_named_and_the_base_stays_trainable(dropout):
    base = dense()
    with pytest.raises(ValueError, match=str(dropout)):
        LinearWithLoRA(base, 2, 4, dropout)
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize(
    "base",
    [nn.Embedding(6, 8), nn.Bilinear(3, 3, 3), nn.Conv2d(3, 3, 3), nn.LayerNorm(8), nn.Tanh()],
    ids=repr,
)
def test_a_layer_that_is_not_dense_is_named_and_stays_trainable(base):
    with pytest.raises(TypeError, match=f"nn.Linear or Conv1D, is needed, got {type(base).__name__}"):
        LinearWithLoRA(base, 2, 4)
    assert all(parameter.requires_grad for parameter in base.parameters())


@both
def test_the_weight_of_a_dense_layer_is_seen_as_out_in_and_can_be_changed_there(kind):
    layer = dense(kind)
    torch.testing.assert_close(layer(inputs()), inputs() @ dense_weight(layer).T + layer.bias)
    with torch.no_grad():
        dense_weight(layer)[5, 7] = 9  # output 5, input 7
    assert layer.weight[(5, 7) if kind is nn.Linear else (7, 5)] == 9


def test_wrapping_twice_is_refused_and_the_first_update_stays_trainable():
    layer = adapted(dense())
    with pytest.raises(TypeError, match="has LoRA already"):
        LinearWithLoRA(layer, 2, 4)
    assert layer.lora.A.requires_grad and layer.lora.B.requires_grad


def test_without_being_asked_for_there_is_no_dropout():
    assert LoRALayer(8, 6, 2, 4).dropout.p == LinearWithLoRA(dense(), 2, 4).lora.dropout.p == 0


def test_a_weight_that_is_no_matrix_is_no_dense_layer():
    odd = nn.Module()
    odd.out_features, odd.weight = 3, nn.Parameter(torch.ones(3))
    with pytest.raises(TypeError, match="a dense layer"):
        dense_weight(odd)
