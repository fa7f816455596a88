"""The fast layer computes what the plain one computes, keeps less, and refuses what it cannot do."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_lab.fast_lora import LinearWithFastLoRA
from lora_lab.lora import LinearWithLoRA
from lora_lab.memory import activation_bytes
from lora_lab.merging import merge, unmerge
from lora_lab.quantized_layers import LinearNF4
from lora_lab.variants import use_dora


def pair(base, rank=4, alpha=6):
    """The plain and the fast layer on copies of `base`, with the same random A and B."""
    torch.manual_seed(0)
    plain = LinearWithLoRA(copy.deepcopy(base), rank, alpha)
    nn.init.normal_(plain.lora.B)
    fast = LinearWithFastLoRA(copy.deepcopy(base), rank, alpha)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def passes(layer, x, wants=True):
    """The output, and the gradients of x, A and B for a random gradient of the output."""
    x = x.clone().requires_grad_(wants)
    y = layer(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype))
    return [y, *([x.grad] if wants else []), layer.lora.A.grad, layer.lora.B.grad]


BASES = {
    "linear": nn.Linear(20, 12),
    "no bias": nn.Linear(20, 12, bias=False),
    "conv1d": Conv1D(12, 20),
    "double": nn.Linear(20, 12).double(),
}


@pytest.mark.parametrize("wants", [True, False], ids=["x asks", "x does not ask"])
@pytest.mark.parametrize("shape", [(7, 20), (3, 5, 20), (2, 3, 4, 20), (20,), (0, 20)], ids=str)
@pytest.mark.parametrize("name", BASES)
def test_outputs_and_gradients_are_those_of_the_plain_layer(name, shape, wants):
    plain, fast = pair(BASES[name])
    x = torch.randn(shape, dtype=plain.lora.A.dtype)
    for one, other in zip(passes(plain, x, wants), passes(fast, x, wants), strict=True):
        torch.testing.assert_close(one, other)


def test_a_transposed_or_expanded_input_is_read_as_it_is():
    plain, fast = pair(BASES["linear"])
    for x in (torch.randn(20, 9).T, torch.randn(1, 20).expand(6, 20), torch.randn(4, 30, 20)[:, ::3]):
        torch.testing.assert_close(plain(x), fast(x))


def test_the_gradient_is_right_by_finite_differences():
    _, fast = pair(BASES["double"])
    assert torch.autograd.gradcheck(fast, torch.randn(3, 20, dtype=torch.double, requires_grad=True))


def test_it_keeps_the_small_product_and_nothing_of_the_size_of_the_output():
    """x itself, which is there anyway, does not count; the weights do not, either."""
    plain, fast = pair(nn.Linear(256, 768), rank=8)
    x = torch.randn(64, 256, requires_grad=True)
    assert activation_bytes(fast, x) == 4 * 64 * 8 <= activation_bytes(plain, x)


def test_the_base_stays_frozen_and_the_layer_merges_as_the_plain_one():
    plain, fast = pair(BASES["linear"])
    x = torch.randn(5, 20)
    before = fast(x)
    assert not any(parameter.requires_grad for parameter in fast.base.parameters())
    model = nn.Sequential(fast).eval()
    torch.testing.assert_close(merge(model)(x), before)
    assert torch.equal(unmerge(model)(x), before) and model[0] is fast
    torch.testing.assert_close(plain(x), before)


def test_what_it_cannot_do_is_refused_in_a_sentence():
    _, fast = pair(BASES["linear"])
    x = torch.randn(5, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="without autocast"):
        fast(x)
    with pytest.raises(RuntimeError, match=r"one precision, torch.float32.* got torch.float64"):
        fast(x.double())
    with pytest.raises(TypeError, match="dropout"):
        LinearWithFastLoRA(nn.Linear(4, 4), 2, 2, dropout=0.1)
    (gradient,) = torch.autograd.grad(fast(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_a_base_that_is_trained_or_in_four_bits_is_refused():
    """Its gradient would be lost, or its weight kept dequantised."""
    for name in ("weight", "bias"):
        _, fast = pair(BASES["linear"])
        getattr(fast.base, name).requires_grad_(True)
        with pytest.raises(RuntimeError, match="frozen, and no DoRA: this one is trained, in four bits"):
            fast(torch.randn(5, 20))
    with pytest.raises(RuntimeError, match="in four bits"):
        LinearWithFastLoRA(LinearNF4(nn.Linear(64, 12)), 2, 2)(torch.randn(5, 64))


def test_it_runs_on_the_device_without_memory():
    _, fast = pair(nn.Linear(20, 12))
    assert fast.to("meta")(torch.randn(5, 20, device="meta")).shape == (5, 12)


def test_another_update_than_loras_is_refused():
    """It would be left out."""
    fast = use_dora(LinearWithFastLoRA(nn.Linear(20, 12), 4, 6))
    with pytest.raises(RuntimeError, match="or has another update"):
        fast(torch.randn(5, 20))


def test_a_compiled_model_may_call_it():
    """With the "eager" backend, which traces as others do and needs no compiler."""
    plain, fast = pair(BASES["linear"])
    compiled = torch.compile(fast, backend="eager")
    x = torch.randn(5, 20)
    for one, other in zip(passes(plain, x), passes(compiled, x), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("frozen", ["A", "B"])
def test_a_matrix_that_is_frozen_gets_no_gradient_and_the_other_does(frozen):
    _, fast = pair(nn.Linear(12, 10))
    nn.init.normal_(fast.lora.B)
    getattr(fast.lora, frozen).requires_grad_(False)
    fast(torch.ones(3, 12)).sum().backward()
    other = "B" if frozen == "A" else "A"
    assert getattr(fast.lora, frozen).grad is None and getattr(fast.lora, other).grad.any()
