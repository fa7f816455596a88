"""Weights in 4 bits: codes, scales and values against bitsandbytes, the layer against a dense one and
autograd, and LoRA on top of it in a GPT-2.
"""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from lora_lab import quantized_layers
from lora_lab.adapters import load_adapter, save_adapter
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import apply_lora_to_gpt2, dense_layers, gpt2_blocks, random_gpt2, remove_lora_from_gpt2
from lora_lab.lora import LinearWithLoRA
from lora_lab.memory import model_bytes
from lora_lab.merging import merge, unmerge
from lora_lab.quantization import (
    DYNAMIC,
    NF4,
    dequantize,
    dequantize_scales,
    dynamic_levels,
    nf4_levels,
    pack,
    quantize,
    quantize_scales,
    unpack,
)
from lora_lab.quantized_layers import LinearNF4, dequantize_gpt2, quantize_gpt2

ALL = ("q", "k", "v", "o", "fc", "proj")
THREE = torch.tensor([-1.0, 0.0, 1.0])
both = pytest.mark.parametrize("kind", [nn.Linear, Conv1D])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense(kind=nn.Linear, in_features=24, out_features=40):
    torch.manual_seed(1)
    layer = nn.Linear(in_features, out_features) if kind is nn.Linear else Conv1D(out_features, in_features)
    nn.init.normal_(layer.bias)
    return layer


def in_4_bits(kind=nn.Linear, **options):
    return LinearNF4(dense(kind), **options)


def restored(weight):
    return dequantize(*quantize(weight)).view(weight.shape)


def everything(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def ids():
    return torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(3))


# Levels


def test_the_sixteen_levels_are_quantiles_of_the_normal_distribution():
    torch.testing.assert_close(nf4_levels(), NF4, atol=2e-7, rtol=0)
    assert len(NF4) == 16 and NF4[0] == -1 and NF4[7] == 0 and NF4[15] == 1
    p = torch.special.ndtr(NF4 * torch.special.ndtri(torch.tensor(0.9677083)))
    torch.testing.assert_close(p[7:].diff(), torch.full((8,), 0.4677083 / 8), atol=1e-6, rtol=0)
    torch.testing.assert_close(p[:8].diff(), torch.full((7,), 0.4677083 / 7), atol=1e-6, rtol=0)


def test_the_levels_for_scales_are_dense_near_zero():
    assert len(DYNAMIC) == 256 and torch.equal(DYNAMIC, dynamic_levels())
    assert DYNAMIC.diff().min() > 0 and DYNAMIC[-1] == 1 and 0 in DYNAMIC
    per_decade = [((DYNAMIC / 10.0 ** (i - 6) - 0.55).abs() < 0.45).sum() for i in range(7)]
    assert per_decade == [2**i for i in range(7)]


# Codes


def test_a_hand_made_block():
    levels = torch.tensor([-1, -1 / 3, 1 / 3, 1])
    codes, absmax = quantize(torch.tensor([0.4, -1.2, 0.9, 0.05]), levels, block_size=4)
    assert codes.tolist() == [2, 0, 3, 2] and absmax.tolist() == [pytest.approx(1.2)]
    values = dequantize(codes, absmax, levels, block_size=4)
    torch.testing.assert_close(values, torch.tensor([0.4, -1.2, 1.2, 0.4]))


def test_every_number_gets_its_nearest_level():
    weight = normal(5, 64)
    codes, absmax = quantize(weight)
    scaled = weight / absmax[:, None]
    nearest = (scaled.flatten()[:, None] - NF4).abs().argmin(dim=1)
    assert torch.equal(codes.long(), nearest)


def test_a_tie_goes_to_the_lower_level_and_the_midpoints_neighbours_to_their_own():
    midpoints = (NF4[:-1] + NF4[1:]) / 2
    above = torch.nextafter(midpoints, torch.tensor(2.0))
    codes, absmax = quantize(torch.cat([midpoints, above, torch.ones(64 - 30)]))
    assert absmax == 1
    assert codes[:15].tolist() == [*range(15)] and codes[15:30].tolist() == [*range(1, 16)]


def test_each_block_has_a_scale_of_its_own_also_the_short_last_one():
    weight = torch.cat([normal(64), 100 * normal(64, seed=1), normal(5, seed=2)])
    codes, absmax = quantize(weight)
    assert absmax.tolist() == [block.abs().max() for block in weight.split(64)]
    for i, block in enumerate(weight.split(64)):
        assert torch.equal(quantize(block)[0], codes.split(64)[i])


def test_a_block_of_zeros_comes_back_as_zeros():
    weight = torch.cat([torch.zeros(64), normal(64), torch.zeros(3)])
    assert torch.equal(restored(weight)[:64], torch.zeros(64)) and not restored(weight)[128:].any()
    assert restored(weight)[64:128].any()


def test_what_is_on_the_levels_already_stays_there_to_the_bit():
    once = restored(normal(300))
    assert torch.equal(restored(once), once)


def test_two_codes_make_a_byte_the_first_in_the_upper_half():
    codes = torch.tensor([1, 15, 8], dtype=torch.uint8)
    assert pack(codes).tolist() == [0x1F, 0x87]
    assert torch.equal(unpack(pack(codes), 3), codes)


def test_scales_in_8_bits_are_a_quarter_as_large_and_nearly_the_same():
    absmax = quantize(normal(300, 64))[1]
    codes, scales, mean = quantize_scales(absmax)
    assert codes.dtype == torch.uint8 and len(codes) == 300 and len(scales) == 2 and mean.shape == ()
    error = dequantize_scales(codes, scales, mean) - absmax
    assert error.abs().max() < 0.01 * absmax.max() and error.any()


def peak_bytes(function):
    """The most bytes that PyTorch holds at once of what it takes while `function()` runs."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        function()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = torch.tensor([event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())])
    return held.cumsum(0).max().item()


def test_dequantising_holds_twelve_bytes_a_weight_for_a_moment():
    """The codes as int32, their levels and the scales; with the codes themselves these are the 13 of lesson
    13. An index of int64 would make it 20.
    """
    codes, absmax = quantize(normal(640, 64))
    assert peak_bytes(lambda: dequantize(codes, absmax)) == 12 * codes.numel()


# The same as bitsandbytes


@pytest.fixture(scope="module")
def bnb():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses kernels that are not needed here
    reason = "bitsandbytes has no wheel for this machine, so nothing was compared with it"
    functional = pytest.importorskip("bitsandbytes.functional", reason=reason)
    import torch._dynamo

    compiles, torch._dynamo.config.disable = torch._dynamo.config.disable, True  # it would for odd shapes
    yield functional
    torch._dynamo.config.disable = compiles


def shaped(shape, dtype):
    return (normal(*shape) * 0.02).to(dtype)


def awkward(kind):
    midpoints = (NF4[:-1] + NF4[1:]) / 2
    return {
        "ties": torch.cat([midpoints, torch.nextafter(midpoints, torch.tensor(2.0)), torch.ones(34)]),
        "a zero block": torch.cat([normal(64), torch.zeros(64), normal(64, seed=1)]),
        "a zero tail": torch.cat([normal(128), torch.zeros(9)]),
        "zeros only": torch.zeros(130),
        "tiny numbers": normal(200) * 1e-37,
        "huge numbers": normal(200) * 1e36,
        "one outlier": torch.cat([normal(128), torch.tensor([-1e4]), normal(127, seed=1)]),
    }[kind]


def assert_the_same(functional, weight):
    """Codes, scales and values, with double quantisation and without it."""
    for double in (False, True):
        packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
        codes, absmax = quantize(weight)
        assert torch.equal(pack(codes), packed.flatten())
        if double:
            scale_codes, scales, mean = quantize_scales(absmax)
            assert torch.equal(scale_codes, state.absmax)
            assert torch.equal(scales, state.state2.absmax) and torch.equal(mean, state.offset)
            absmax = dequantize_scales(scale_codes, scales, mean)
        else:
            assert torch.equal(absmax, state.absmax)
        values = dequantize(unpack(pack(codes), weight.numel()), absmax).view(weight.shape).to(weight.dtype)
        assert torch.equal(values, functional.dequantize_4bit(packed, state).reshape(weight.shape))


def test_its_levels_are_ours(bnb):
    assert torch.equal(bnb.get_4bit_type("nf4", device="cpu"), NF4)
    assert torch.equal(bnb.create_dynamic_map(), DYNAMIC)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "shape", [(128, 384), (64,), (1,), (3, 5), (65,), (2, 63), (7, 64), (33, 31), (64 * 257,), (64 * 300, 2)]
)
def test_codes_scales_and_values_are_those_of_bitsandbytes(bnb, shape, dtype):
    assert_the_same(bnb, shaped(shape, dtype))


@pytest.mark.parametrize(
    "kind",
    ["ties", "a zero block", "a zero tail", "zeros only", "tiny numbers", "huge numbers", "one outlier"],
)
def test_so_they_are_for(bnb, kind):
    assert_the_same(bnb, awkward(kind))


@pytest.mark.parametrize("length", [64, 63], ids=["whole blocks", "short blocks"])
def test_so_they_are_for_ties_at_any_scale(bnb, length):
    midpoints, others = (NF4[:-1] + NF4[1:]) / 2, torch.zeros(length - 16)
    for absmax in normal(100, seed=4).abs():
        assert_the_same(bnb, torch.cat([absmax * midpoints, absmax[None], others]))


@both
def test_so_is_the_weight_of_a_layer(bnb, kind):
    layer = dense(kind)
    W = (layer.weight.T if kind is Conv1D else layer.weight).detach().contiguous()
    theirs = bnb.dequantize_4bit(*bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=True))
    assert torch.equal(in_4_bits(kind).dequantized(), theirs)


# The layer


@both
def test_the_layer_computes_what_a_dense_one_with_the_dequantised_weight_does(kind):
    base, layer, x = dense(kind), in_4_bits(kind), normal(5, 24)
    W = layer.dequantized()
    torch.testing.assert_close(layer(x), F.linear(x, W, base.bias), atol=1e-5, rtol=0)
    assert not torch.allclose(layer(x), base(x), atol=1e-3)  # it was rounded
    original = base.weight.T if kind is Conv1D else base.weight
    assert W.shape == original.shape and (W - original).norm() < 0.12 * original.norm()
    assert torch.equal(layer.weight, W)


@both
def test_gradients_go_through_it_as_through_a_dense_layer(kind):
    layer = in_4_bits(kind)
    x, direction = normal(2, 3, 24).requires_grad_(), normal(2, 3, 40, seed=5)
    (layer(x) * direction).sum().backward()
    torch.testing.assert_close(x.grad, direction @ layer.dequantized(), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.bias.grad, direction.sum(dim=(0, 1)), atol=1e-5, rtol=0)


def kept_for_backward(function):
    """Sizes of the tensors that autograd keeps."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        function()
    return sizes


def test_nothing_of_the_size_of_the_weight_is_kept_for_the_backward_pass():
    layer, x = in_4_bits(), normal(5, 24).requires_grad_()
    assert 24 * 40 in kept_for_backward(lambda: F.linear(x, layer.weight))
    assert not kept_for_backward(lambda: layer(x))
    lora = LinearWithLoRA(layer, rank=2, alpha=4)
    assert 24 * 40 not in kept_for_backward(lambda: lora(x))


@both
def test_lora_sits_on_it_and_only_a_and_b_move(kind):
    layer = LinearWithLoRA(in_4_bits(kind), rank=2, alpha=4)
    x, y = normal(64, 24), normal(64, 40, seed=7)
    assert torch.equal(layer(x), layer.base(x))
    before = everything(layer)
    optimizer = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        F.mse_loss(layer(x), y).backward()
        optimizer.step()
    after = everything(layer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"lora.A", "lora.B"}
    assert {name for name, p in layer.named_parameters() if p.grad is not None} == {"lora.A", "lora.B"}


def test_its_bytes_are_counted_to_the_last():
    layer = LinearNF4(nn.Linear(384, 128, bias=False))
    blocks = 384 * 128 // 64
    assert model_bytes(layer) == 384 * 128 // 2 + blocks + 4 * (blocks // 256) + 4 + 4 * 16
    assert layer.codes.dtype == layer.scale_codes.dtype == torch.uint8
    assert not list(layer.parameters())  # an optimiser sees none of them


def test_a_saved_layer_comes_back_with_its_levels():
    layer, other = in_4_bits(levels=THREE), in_4_bits(levels=torch.tensor([-1.0, 0.5, 1.0]))
    assert not torch.equal(layer.weight, other.weight)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(copy.deepcopy(layer).weight, layer.weight)


def test_a_layer_in_bfloat16_computes_in_bfloat16():
    layer = LinearNF4(dense().to(torch.bfloat16))
    assert layer(normal(2, 24).bfloat16()).dtype == torch.bfloat16
    assert LinearWithLoRA(layer, 2, 4).lora.A.dtype == torch.bfloat16


# Other precisions


def dequantised(layer):
    """An nn.Linear of what a LinearNF4 stands for."""
    linear = nn.Linear(layer.in_features, layer.out_features)
    linear.weight.data.copy_(layer.dequantized())
    linear.bias.data.copy_(layer.bias)
    return linear


def output_and_gradients(layer, x, direction, autocast=None):
    """y, and the gradients of x and the bias; the backward pass is outside autocast, as it should be."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        y = layer(x)
    layer.bias.grad = None
    (y * direction.to(y.dtype)).sum().backward()
    return y.detach(), x.grad, layer.bias.grad


def assert_alike(found, expected):
    """Equal to a few steps of the number format, and in it."""
    for first, second in zip(found, expected, strict=True):
        assert first.dtype == second.dtype
        step = torch.finfo(second.dtype).eps * second.abs().max().item()
        torch.testing.assert_close(first, second, atol=4 * step, rtol=0)


DTYPES = [torch.bfloat16, torch.float16, torch.float64]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
CASTS = {
    "to": lambda module, dtype: module.to(dtype),
    "method": lambda module, dtype: getattr(module, CAST_METHODS[dtype])(),
    "type": lambda module, dtype: module.type(dtype),
    "like": lambda module, dtype: module.to(torch.empty(0, dtype=dtype)),
}
CAST_METHODS = {torch.bfloat16: "bfloat16", torch.float16: "half", torch.float64: "double"}


@both
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_under_autocast_it_does_what_a_dense_layer_does(kind, dtype):
    layer, x, direction = in_4_bits(kind), normal(2, 3, 24), normal(2, 3, 40, seed=5)
    found = output_and_gradients(layer, x, direction, autocast=dtype)
    assert [tensor.dtype for tensor in found] == [dtype, torch.float32, torch.float32]
    assert_alike(found[:1], output_and_gradients(dequantised(layer), x, direction, autocast=dtype)[:1])
    for tensor, expected in zip(
        found[1:], output_and_gradients(dequantised(layer), x, direction, dtype)[1:], strict=True
    ):
        torch.testing.assert_close(tensor, expected, atol=0.02 * expected.abs().max().item(), rtol=0)


@both
@each_dtype
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_converted_it_does_what_the_dense_layer_does_converted_and_rounds_nothing_that_it_stores(
    kind, dtype, cast
):
    layer, before = in_4_bits(kind), in_4_bits(kind)
    x, direction = normal(2, 3, 24).to(dtype), normal(2, 3, 40, seed=5).to(dtype)
    dense_layer = dequantised(layer).to(dtype)
    assert cast(layer, dtype) is layer
    assert layer.weight.dtype == layer.bias.dtype == dtype
    assert torch.equal(layer.dequantized(), dense_layer.weight)  # rounded once, from the exact numbers
    assert same(dict(layer.named_buffers()), dict(before.named_buffers()))
    assert all(b.dtype in (torch.uint8, torch.float32) for b in layer.buffers())
    assert_alike(output_and_gradients(layer, x, direction), output_and_gradients(dense_layer, x, direction))
    assert torch.equal(layer.float().dequantized(), before.dequantized())  # and back, without a loss


def test_a_converted_layer_is_copied_and_moved_as_it_is():
    layer = in_4_bits().bfloat16()
    again = copy.deepcopy(layer)
    assert again.weight.dtype == torch.bfloat16 and torch.equal(again.weight, layer.weight)
    assert {b.device.type for b in again.to("meta").buffers()} == {"meta"} and again.dtype == torch.bfloat16


# GPT-2


def gpt2():
    """A random GPT-2 whose biases are not zero."""
    model = random_gpt2()
    for i, (name, parameter) in enumerate(model.named_parameters()):
        if name.endswith(".bias"):
            parameter.data = normal(*parameter.shape, seed=i)
    return model


def quantised_gpt2(**options):
    return quantize_gpt2(gpt2(), **options)


def test_every_dense_layer_of_the_blocks_is_quantised_and_nothing_else():
    model, before = gpt2(), everything(gpt2())
    assert quantize_gpt2(model) is model
    kinds = {name: type(m) for name, m in model.named_modules()}
    assert sum(kind is LinearNF4 for kind in kinds.values()) == 2 * 4
    assert not any(kind is Conv1D for kind in kinds.values()) and kinds["lm_head"] is nn.Linear
    kept = {name: tensor for name, tensor in everything(model).items() if name in before}
    gone = {f"{name}.weight" for name, kind in kinds.items() if kind is LinearNF4}
    assert kept.keys() == before.keys() - gone
    assert all(torch.equal(kept[name], before[name]) for name in kept)


def test_its_logits_are_those_of_the_dequantised_model_and_not_of_the_original():
    model = quantised_gpt2()
    logits = model(ids()).logits
    assert not torch.allclose(logits, gpt2()(ids()).logits, atol=0.1)
    dequantize_gpt2(model)
    assert sum(isinstance(m, Conv1D) for m in model.modules()) == 8
    torch.testing.assert_close(model(ids()).logits, logits, atol=1e-4, rtol=0)


def test_the_levels_asked_for_are_used():
    W = gpt2_blocks(quantised_gpt2(levels=THREE))[0].mlp.c_fc.dequantized()
    assert set(W.view(-1, 64)[0].sign().tolist()) == {-1, 0, 1} and len(W.view(-1, 64)[0].unique()) == 3
    assert len(gpt2_blocks(quantised_gpt2())[0].mlp.c_fc.dequantized().view(-1, 64)[0].unique()) > 10


def with_updates(model):
    for i, (name, parameter) in enumerate(model.named_parameters()):
        if name.endswith(".B"):
            parameter.data = 0.3 * normal(*parameter.shape, seed=i)
    return model


@pytest.mark.parametrize("targets", [ALL, ("c_attn", "o", "fc", "proj"), ("q", "v")], ids=str)
def test_lora_goes_into_it_as_into_any_gpt2_and_comes_out_again(targets):
    model, before = quantised_gpt2(), quantised_gpt2()(ids()).logits
    apply_lora_to_gpt2(model, 2, 4, targets)
    assert count_trainable_parameters(model) == count_trainable_parameters(
        apply_lora_to_gpt2(gpt2(), 2, 4, targets)
    )
    torch.testing.assert_close(model(ids()).logits, before, atol=1e-5, rtol=0)
    bytes_before = {n: t.clone() for n, t in model.named_buffers()}
    model(ids(), labels=ids()).loss.backward()
    assert all(torch.equal(t, bytes_before[n]) for n, t in model.named_buffers())
    assert {n[-2:] for n, p in model.named_parameters() if p.grad is not None} == {".A", ".B"}
    assert torch.equal(remove_lora_from_gpt2(model)(ids()).logits, before)


def logits_and_gradients(model, autocast=False):
    """The logits, and the gradients of all A and B one after another, in float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(ids(), labels=ids())
    output.loss.backward()
    gradients = [p.grad.float().flatten() for n, p in model.named_parameters() if n.endswith((".A", ".B"))]
    return output.logits.detach().float(), torch.cat(gradients)


def assert_near(found, expected, share):
    assert (found - expected).norm() < share * expected.norm()


@pytest.mark.parametrize("targets", [ALL, ("c_attn", "o", "fc", "proj")], ids=str)
@pytest.mark.parametrize("how", ["autocast", "bfloat16", "half", "double"])
def test_with_lora_on_top_it_is_in_every_precision_what_the_dequantised_model_is(targets, how):
    nf4 = with_updates(apply_lora_to_gpt2(quantised_gpt2(), 2, 4, targets))
    dense = dequantize_gpt2(copy.deepcopy(nf4))
    exact_logits, exact_gradients = logits_and_gradients(copy.deepcopy(dense))
    buffers = {name: buffer.clone() for name, buffer in nf4.named_buffers()}
    if how != "autocast":
        nf4, dense = getattr(nf4, how)(), getattr(dense, how)()
    logits, gradients = logits_and_gradients(nf4, autocast=how == "autocast")
    expected_logits, expected_gradients = logits_and_gradients(dense, autocast=how == "autocast")
    share = {"double": 1e-6, "half": 0.003}.get(how, 0.02)
    assert_near(logits, expected_logits, share)
    assert_near(gradients, expected_gradients, 2 * share)
    assert_near(logits, exact_logits, share)
    assert_near(gradients, exact_gradients, 2 * share)
    assert same({name: buffer.clone() for name, buffer in nf4.named_buffers()}, buffers)


def test_merging_into_4_bits_is_refused_and_nothing_changes():
    model = with_updates(apply_lora_to_gpt2(quantised_gpt2(), 2, 4, ALL))
    before = everything(model)
    with pytest.raises(ValueError, match=r"LinearNF4 has no weight .* dequantise"):
        merge(model)
    assert same(everything(model), before)


def test_after_dequantising_the_update_is_merged_into_the_dequantised_weight():
    model = with_updates(apply_lora_to_gpt2(quantised_gpt2(), 2, 4, ALL))
    adapted = model(ids()).logits
    assert not torch.allclose(adapted, quantised_gpt2()(ids()).logits, atol=0.1)
    dequantize_gpt2(model)
    start = gpt2_blocks(model)[0].mlp.c_fc.base.weight.clone()
    assert torch.equal(start.T, gpt2_blocks(quantised_gpt2())[0].mlp.c_fc.weight)
    torch.testing.assert_close(merge(model)(ids()).logits, adapted, atol=1e-3, rtol=0)
    assert torch.equal(gpt2_blocks(unmerge(model))[0].mlp.c_fc.base.weight, start)


def test_a_merged_model_is_neither_quantised_nor_dequantised():
    model = merge(apply_lora_to_gpt2(gpt2(), 2, 4, ALL))
    for function in (quantize_gpt2, dequantize_gpt2):
        with pytest.raises(RuntimeError, match="unmerge"):
            function(model)
    assert sum(isinstance(m, Conv1D) for m in model.modules()) == 8


def test_the_base_can_be_quantised_under_lora_too():
    under = quantize_gpt2(with_updates(apply_lora_to_gpt2(gpt2(), 2, 4, ALL)))
    torch.manual_seed(0)
    over = apply_lora_to_gpt2(quantised_gpt2(), 2, 4, ALL)
    over.load_state_dict(under.state_dict())
    assert torch.equal(under(ids()).logits, over(ids()).logits)


def test_an_adapter_trained_on_4_bits_is_saved_and_loaded_as_any_other(tmp_path):
    model = with_updates(apply_lora_to_gpt2(quantised_gpt2(), 2, 4, ALL))
    save_adapter(model, tmp_path)
    again = load_adapter(quantised_gpt2(), tmp_path)
    assert torch.equal(model(ids()).logits, again(ids()).logits)
    assert load_adapter(gpt2(), tmp_path)(ids()).logits.shape == (2, 12, 100)


def test_a_tied_weight_counts_once():
    model = gpt2()
    assert model_bytes(model) == 4 * sum(p.numel() for p in model.parameters())
    assert model_bytes(quantize_gpt2(model)) < model_bytes(gpt2()) / 3


# What is refused


@pytest.mark.parametrize(
    ("weight", "kind", "words"),
    [
        (torch.ones(4, dtype=torch.int64), TypeError, "torch.int64"),
        ([1.0], TypeError, "list"),
        (torch.ones(0, 4), ValueError, r"\(0, 4\)"),
        (torch.tensor([1.0, float("nan")]), ValueError, "NaN"),
        (torch.tensor([1.0, float("inf")]), ValueError, "infinite"),
    ],
    ids=str,
)
def test_a_weight_that_cannot_be_quantised_is_refused(weight, kind, words):
    with pytest.raises(kind, match=words):
        quantize(weight)


def test_impossible_levels_blocks_and_codes_are_named():
    with pytest.raises(ValueError, match=r"levels must rise.*\[1.0, 0.0\]"):
        quantize(torch.ones(4), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="256 at most"):  # a code is one byte
        quantize(torch.ones(4), torch.linspace(-1, 1, 257))
    with pytest.raises(ValueError, match=r"block_size .*, 0"):
        quantize(torch.ones(4), block_size=0)
    with pytest.raises(ValueError, match="at most 15, got 16"):
        in_4_bits(levels=torch.linspace(-1, 1, 17))


def test_what_is_no_dense_layer_is_named_and_nothing_changes():
    with pytest.raises(TypeError, match="Embedding"):
        LinearNF4(nn.Embedding(6, 8))
    with pytest.raises(TypeError, match="Tanh"):
        quantize_gpt2(nn.Tanh())


def test_a_model_with_a_weight_that_is_not_finite_stays_as_it_is():
    model = gpt2()
    list(dense_layers(model).values())[-1].weight.data[3, 4] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        quantize_gpt2(model)
    assert not any(isinstance(module, LinearNF4) for module in model.modules())


# Memory


def test_dequantising_in_pieces_takes_little_more_than_the_weight(monkeypatch):
    layer = LinearNF4(nn.Linear(2048, 4096))  # eight pieces
    n = 2048 * 4096
    in_pieces, values = peak_bytes(layer.dequantized) / n, layer.dequantized()
    monkeypatch.setattr(quantized_layers, "PIECE", n)
    at_once = peak_bytes(layer.dequantized) / n
    assert 4 < in_pieces < 8 and at_once > 14
    assert torch.equal(values, layer.dequantized())


def test_pieces_fit_together_where_the_last_is_short_and_odd(monkeypatch):
    layer = LinearNF4(nn.Linear(33, 77))
    whole = layer.dequantized()
    monkeypatch.setattr(quantized_layers, "PIECE", 128)
    assert torch.equal(whole, layer.dequantized()) and whole.shape == (77, 33)


@pytest.mark.parametrize("levels", [[-1.0, 0, 0, 1], [-1.0, 0.5, 0.25, 1]])
def test_levels_that_stand_still_or_fall_are_refused(levels):
    with pytest.raises(ValueError, match="levels must rise"):
        quantize(torch.ones(64), torch.tensor(levels))


def test_256_levels_are_the_most_that_a_byte_can_name():
    quantize(torch.ones(64), torch.linspace(-1, 1, 256))
    with pytest.raises(ValueError, match="256 at most"):
        quantize(torch.ones(64), torch.linspace(-1, 1, 257))
