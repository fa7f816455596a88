"""LinearNF4, a frozen dense layer in 4 bits that LoRA sits on as on any other, and GPT-2 made of it. Lesson
14 builds the layer. Dettmers et al., QLoRA, arXiv 2305.14314, section 3.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from lora_lab.gpt2 import gpt2_blocks
from lora_lab.lora import dense_weight
from lora_lab.merging import check_unmerged, replace_modules
from lora_lab.quantization import (
    BLOCK,
    NF4,
    check_weight,
    dequantize,
    dequantize_scales,
    pack,
    quantize,
    quantize_scales,
    unpack,
)

PIECE = 2**20  # weights that are dequantised at once: each takes 13 bytes on the way


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

    `base` is an nn.Linear or GPT-2's Conv1D; blocks run along the rows of W (out, in) in both cases. W cannot
    be trained, b is that of `base`. `levels` is a sorted tensor of at most 16 numbers from -1 to 1. Raises
    what `dense_weight`, `quantize` and `pack` raise.
    """

    def __init__(self, base, levels=NF4):
        super().__init__()
        W = dense_weight(base)
        self.out_features, self.in_features = W.shape
        codes, absmax = quantize(W, levels)
        scale_codes, scales, mean = quantize_scales(absmax)
        self.register_buffer("codes", pack(codes))  # out * in / 2 bytes
        self.register_buffer("scale_codes", scale_codes)  # out * in / 64 bytes
        self.register_buffer("scales", scales)
        self.register_buffer("mean", mean)
        self.register_buffer("levels", levels)
        self.bias, self.dtype = base.bias, W.dtype

    def dequantized(self):
        absmax = dequantize_scales(self.scale_codes, self.scales, self.mean)
        W = torch.empty(2 * len(self.codes), dtype=self.dtype, device=self.codes.device)
        pieces = W.split(PIECE), self.codes.split(PIECE // 2), absmax.split(PIECE // BLOCK)
        for piece, codes, scales in zip(*pieces, strict=True):
            piece.copy_(dequantize(unpack(codes, len(piece)), scales, self.levels))
        return W[: self.out_features * self.in_features].view(self.out_features, self.in_features)

    @property
    def weight(self):
        return self.dequantized()

    def forward(self, x):
        y = MatmulNF4.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)


def quantize_gpt2(model, levels=NF4):
    """Put a LinearNF4 in the place of every dense layer in the blocks of `model`, and return `model`, changed
    in place. Embeddings, layer norms and biases stay as they are, frozen or not.

    Do it before LoRA comes in, or after: its base is then quantised. TypeError if `model` is no GPT-2,
    RuntimeError if LoRA is merged, and what `quantize` raises; with nothing changed.
    """
    check_quantizable(model, levels)
    replace_modules(
        gpt2_blocks(model),
        lambda module: isinstance(module, Conv1D),
        lambda layer: LinearNF4(layer, levels).train(layer.training),
    )
    return model


def check_quantizable(model, levels):
    """Raise what `quantize_gpt2` raises for `model` and `levels`."""
    check_unmerged(model)
    for block in gpt2_blocks(model):
        for layer in block.modules():
            if isinstance(layer, Conv1D):
                check_weight(layer.weight)
    quantize(torch.zeros(1), levels)
    if len(levels) > 16:
        raise ValueError(f"4 bits are codes of 16 levels at most, got {len(levels)}")


def dequantize_gpt2(model):
    """Put a dense layer of the dequantised weight in the place of every LinearNF4 of `model`, and return
    `model`, changed in place: `merge(model)` then has a weight to add the update to. The rounding that
    `quantize_gpt2` did is not undone. Raises what `quantize_gpt2` raises.
    """
    check_unmerged(model)
    replace_modules(gpt2_blocks(model), lambda module: isinstance(module, LinearNF4), dense_again)
    return model


def dense_again(layer):
    """A Conv1D with the dequantised weight of a LinearNF4, frozen, and with its bias."""
    dense = Conv1D(layer.out_features, layer.in_features)
    dense.weight = nn.Parameter(layer.weight.T.contiguous(), requires_grad=False)
    dense.bias = layer.bias
    return dense.train(layer.training)
