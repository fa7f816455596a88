"""Weights in 4 bits: levels, blocks, bytes, and scales in 8 bits. Lesson 13 builds on this file. Dettmers et
al., QLoRA, arXiv 2305.14314, section 3.

A weight is cut into blocks of 64 numbers. Each block is divided by its largest absolute value, its absmax,
and of every number only the place of the nearest level in a sorted list is kept, its code. On a CPU, codes,
scales and values are those of the bitsandbytes library, to the bit.
"""

from statistics import NormalDist

import torch
from torch.nn import functional as F

BLOCK, SCALES_BLOCK = 64, 256  # numbers that share a scale; scales that share a scale of theirs
SMALLEST = 1e-38  # what a block of zeros is divided by

# What nf4_levels() computes, written down: a computer that rounds otherwise must not have other levels.
NF4 = torch.tensor(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]
)  # fmt: skip


def nf4_levels(outermost=0.9677083):
    """The sixteen levels of NF4, from -1 to 1: quantiles of the normal distribution, divided by the largest.

    The probabilities go from `outermost` to 1/2 in equal steps, in 8 steps above zero and mirrored in 7
    below it, so that zero itself is a level. `outermost` is 1 - (1/30 + 1/32) / 2: on the way from the last
    level to the end, half a step is left over.
    """
    quantile = NormalDist().inv_cdf
    above = [quantile(p) for p in torch.linspace(outermost, 0.5, 9)[:-1].tolist()]
    below = [-quantile(p) for p in torch.linspace(outermost, 0.5, 8)[:-1].tolist()]
    levels = torch.tensor(sorted([*below, 0.0, *above]))
    return levels / levels.max()


def quantize(weight, levels=NF4, block_size=BLOCK):
    """(codes, absmax) of a tensor of any shape, read row by row: for each number the place of the nearest of
    `levels`, in uint8, and for each block its largest absolute value, in float32.

    Halfway between two levels, the lower one is taken. TypeError if `weight` holds no floats; ValueError if
    it is empty or one of them is NaN or infinite, if `levels` do not rise or are more than 256, or if
    `block_size` is below 1.
    """
    check_weight(weight)
    if not (levels.diff() > 0).all() or len(levels) > 256 or block_size < 1:
        raise ValueError(
            f"levels must rise (256 at most) and block_size be 1 or more, got {levels.tolist()}, {block_size}"
        )
    flat = weight.detach().float().flatten()
    whole = len(flat) - len(flat) % block_size
    blocks, tail = flat[:whole].view(-1, block_size), flat[whole:]
    absmax = blocks.abs().amax(dim=1)
    scaled = (blocks * (1 / absmax.clamp(min=SMALLEST))[:, None]).flatten()
    if len(tail):  # a short last block; dividing and multiplying by 1 / absmax differ in the last bit
        last = tail.abs().max().clamp(min=SMALLEST)
        scaled, absmax = torch.cat([scaled, tail / last]), torch.cat([absmax, last[None]])
    midpoints = (levels[:-1] + levels[1:]) / 2
    return torch.bucketize(scaled, midpoints.to(scaled.device)).to(torch.uint8), absmax


def dequantize(codes, absmax, levels=NF4, block_size=BLOCK):
    """The numbers that `codes` stand for, in one row: for each the level of its code times the absmax of its
    block.
    """
    scales = absmax.repeat_interleave(block_size)[: len(codes)]
    return levels.to(scales.device).index_select(0, codes.int()) * scales


def pack(codes):
    """Two codes in each byte, the first in its upper half. An odd number of them is filled up with a 7, NF4's
    code for zero. ValueError if a code is 16 or more: it does not fit into four bits.
    """
    if codes.max() > 15:
        raise ValueError(f"a code of 4 bits is at most 15, got {codes.max().item()}")
    if len(codes) % 2:
        codes = F.pad(codes, (0, 1), value=7)
    return codes[::2] << 4 | codes[1::2]


def unpack(packed, n):
    """The `n` codes in `packed`."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]


def dynamic_levels():
    """The 256 levels for scales: 0, 1, and with both signs 1, 2, 4, ... 64 equally spaced ones in the seven
    decades up to 1. So they are dense near zero. Dettmers, arXiv 1511.04561.
    """
    levels = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        decade = 10 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)
        levels += [*decade.tolist(), *(-decade).tolist()]
    return torch.tensor(sorted(levels))


DYNAMIC = dynamic_levels()


def quantize_scales(absmax):
    """Double quantisation: (codes, scales, mean) of the absmax of a weight. Its mean is subtracted, since all
    are positive; what is left gets a code of 8 bits each, and a scale for every 256 of them.

    As bitsandbytes does on a CPU, a number is first rounded to one of 65,536 places; about one code in a
    thousand is then that of the second nearest level.
    """
    mean = absmax.mean()
    short = -len(absmax) % SCALES_BLOCK
    rest = F.pad(absmax - mean, (0, short)).view(-1, SCALES_BLOCK)
    scales = rest.abs().amax(dim=1)
    places = ((rest * (1 / scales)[:, None]).clamp(-1, 1) + 1) / 2 * 65535
    rounded = (places + 0.5).floor() / 65535 * 2 - 1
    codes = torch.bucketize(rounded, ((DYNAMIC[:-1] + DYNAMIC[1:]) / 2).to(rounded.device))
    codes[scales == 0] = 0  # 1 / 0 above
    return codes.flatten()[: len(absmax)].to(torch.uint8), scales, mean


def dequantize_scales(codes, scales, mean):
    """The absmax that `quantize_scales` took apart, nearly."""
    return dequantize(codes, scales, DYNAMIC, SCALES_BLOCK) + mean


def check_weight(weight):
    """Raise unless `weight` is a tensor of finite floats that is not empty."""
    if not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
        kind = getattr(weight, "dtype", type(weight).__name__)
        raise TypeError(f"a weight must be a tensor of floats, got {kind}")
    if not weight.numel():
        raise ValueError(f"a weight must hold a number, got shape {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError("a weight that holds a NaN or infinite number cannot be quantised")
