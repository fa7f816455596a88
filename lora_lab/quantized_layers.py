"""LinearNF4, a frozen dense layer in 4 bits that LoRA sits on as on any other, and GPT-2 made of it. Lesson
11 builds the layer. Dettmers et al., QLoRA, arXiv 2305.14314, section 3.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from lora_lab.gpt2 import gpt2_blocks
from lora_lab.lora import lora_modules, weight_shape
from lora_lab.quantization import (
    NF4,
    dequantize,
    dequantize_scales,
    pack,
    quantize,
    quantize_scales,
    unpack,
)


class MatmulNF4(torch.autograd.Function):
    """x (..., in) -> x W^T (..., out) of a LinearNF4. For the backward pass the layer is kept and not the
    dequantised W, which is computed again there.
    """

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return F.linear(x, layer.dequantized())

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ ctx.layer.dequantized().to(gradient.dtype), None


class ExactBuffers(nn.Module):
    """A module whose buffers are moved but never rounded: `.to(dtype)`, `.half()` and the like change its
    parameters and `self.dtype`, the precision in which it hands out what it makes of its buffers.
    """

    def _apply(self, fn, recurse=True):
        exact = {name: buffer.to(fn(buffer).device) for name, buffer in self._buffers.items()}
        super()._apply(fn, recurse)
        self._buffers.update(exact)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self


class LinearNF4(ExactBuffers):
    """The dense layer `base` with its weight in 4 bits: x -> W x + b, W = levels[codes] * scale of its block.

    `base` is an nn.Linear, or with `fan_in_fan_out=True` a layer that stores its weight as (in, out); blocks
    run along the rows of W (out, in) in both cases. W cannot be trained, b is that of `base`. `levels` is a
    sorted tensor of at most 16 numbers from -1 to 1. Raises what `weight_shape`, `quantize` and `pack` raise.
    """

    def __init__(self, base, fan_in_fan_out=False, levels=NF4):
        super().__init__()
        self.out_features, self.in_features = weight_shape(base, fan_in_fan_out)
        codes, absmax = quantize(base.weight.T if fan_in_fan_out else base.weight, levels)
        scale_codes, scales, mean = quantize_scales(absmax)
        self.register_buffer("codes", pack(codes))  # out * in / 2 bytes
        self.register_buffer("scale_codes", scale_codes)  # out * in / 64 bytes
        self.register_buffer("scales", scales)
        self.register_buffer("mean", mean)
        self.register_buffer("levels", levels)
        self.bias, self.dtype, self.fan_in_fan_out = base.bias, base.weight.dtype, fan_in_fan_out

    def dequantized(self):
        absmax = dequantize_scales(self.scale_codes, self.scales, self.mean)
        codes = unpack(self.codes, self.out_features * self.in_features)
        W = dequantize(codes, absmax, self.levels).view(self.out_features, self.in_features)
        return W.to(self.dtype)

    @property
    def weight(self):
        W = self.dequantized()
        return W.T if self.fan_in_fan_out else W

    def forward(self, x):
        y = MatmulNF4.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)


def quantize_gpt2(model, levels=NF4):
    """Put a LinearNF4 in the place of every dense layer in the blocks of `model`, and return `model`, changed
    in place. Embeddings, layer norms and biases stay as they are, frozen or not.

    Do it before LoRA comes in, or after: its base is then quantised. TypeError if `model` is no GPT-2,
    RuntimeError if LoRA is merged.
    """
    refuse_merged(model)
    for parent, name, layer in list(children_of_kind(gpt2_blocks(model), Conv1D)):
        setattr(parent, name, LinearNF4(layer, fan_in_fan_out=True, levels=levels).train(layer.training))
    return model


def dequantize_gpt2(model):
    """Put a dense layer of the dequantised weight in the place of every LinearNF4 of `model`, and return
    `model`, changed in place: `merge(model)` then has a weight to add the update to. The rounding that
    `quantize_gpt2` did is not undone. Raises what `quantize_gpt2` raises.
    """
    refuse_merged(model)
    for parent, name, layer in list(children_of_kind(gpt2_blocks(model), LinearNF4)):
        dense = Conv1D(layer.out_features, layer.in_features).requires_grad_(False)
        dense.weight = nn.Parameter(layer.weight.contiguous(), requires_grad=False)
        dense.bias = layer.bias
        setattr(parent, name, dense.train(layer.training))
    return model


def children_of_kind(model, kind):
    """(parent, name, child) for every module of type `kind` in `model`."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, kind):
                yield parent, name, child


def refuse_merged(model):
    """Raise RuntimeError if LoRA is merged into `model`: unmerging would no longer find its weights."""
    if any(module.merged for module in lora_modules(model)):
        raise RuntimeError("LoRA is merged here: call unmerge(model) first")


def model_bytes(model):
    """Bytes of all parameters and buffers of `model` that a file of it would hold; a tied weight once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
