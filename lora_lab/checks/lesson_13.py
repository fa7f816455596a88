"""Checkers of lesson 13, four bits."""

import torch

from lora_lab.checks import attempt, checker
from lora_lab.quantization import NF4, dequantize, quantize


@checker
def check_zero_byte(byte):
    """Exercise 13.1: zero is level 7 of NF4, so the byte is 16 * 7 + 7."""
    if isinstance(byte, torch.Tensor) and byte.numel() == 1:
        byte = byte.item()
    hints = {
        0: "code 0 is the lowest level, -1; which place in the list has the level zero?",
        7: "that is one code; a byte holds two, one in each half",
        14: "the first code stands four bits higher, so it counts sixteenfold",
        112: "the lower half is still empty: it holds the second weight's code",
        136: "are the places counted from 0?",
    }
    if byte in hints:
        return hints[byte]
    if byte != 119:
        return (
            f"both halves hold the place of the level zero, the upper one counts sixteenfold; yours is {byte}"
        )


@checker
def check_pack_four(pack_four):
    """Exercise 13.2: 64 a + 16 b + 4 c + d."""
    codes = torch.tensor([3, 0, 1, 2, 0, 0, 0, 1, 2, 1, 0, 3], dtype=torch.uint8)
    packed = torch.as_tensor(attempt(pack_four, codes.clone()))
    if packed.dtype != torch.uint8:
        return f"a tensor of uint8 is wanted, yours is {packed.dtype}"
    if packed.shape != (3,):
        return f"12 codes must become 3 bytes, yours is of shape {tuple(packed.shape)}"
    a, b, c, d = codes.view(3, 4).T
    if torch.equal(packed, d << 6 | c << 4 | b << 2 | a):
        return "the first code ends in the lowest bits: it belongs into the highest"
    quarters = codes.view(4, 3)
    if torch.equal(packed, quarters[0] << 6 | quarters[1] << 4 | quarters[2] << 2 | quarters[3]):
        return "a byte must hold four codes that stood side by side"
    if packed[1] == 1 and not torch.equal(packed, a << 6 | b << 4 | c << 2 | d):
        return "the codes get in each other's way: by how many bits is each of them shifted?"
    if not torch.equal(packed, a << 6 | b << 4 | c << 2 | d):
        return f"the codes 0, 0, 0, 1 must make the byte 1, yours is {packed[1].item()}"


@checker
def check_best_limit(best_limit):
    """Exercise 13.3: the error against the weight as it was is at most 2 % above the least on a fine grid."""
    draw = torch.Generator().manual_seed(0)
    for weight, levels in (
        (3 * torch.randn(64, 64, generator=draw), torch.linspace(-1, 1, 16)),
        (0.02 * torch.randn(48, 64, generator=draw), NF4),
        (torch.randn(48, 64, generator=draw), torch.tensor([-1.0, 0.0, 1.0])),
    ):
        limit = float(attempt(best_limit, weight.clone(), levels))
        absmax = weight.abs().max().item()
        grid = [absmax * share / 200 for share in range(20, 201)]
        errors = [cut_error(weight, levels, candidate) for candidate in grid]
        best = grid[errors.index(min(errors))]
        if not 0 < limit <= 1.001 * absmax:
            return f"a limit lies between 0 and the absmax, here {absmax:.3g}, and yours is {limit:.3g}"
        if cut_error(weight, levels, limit) <= 1.02 * min(errors):
            continue
        if limit > 0.99 * absmax:
            return "at the absmax nothing is cut off; is a lower limit really worse?"
        if abs(limit - best / absmax) < 0.02:
            return "that is a share of the absmax; the limit is wanted in the units of the weight"
        if limit < best / 2:
            return "hardly anything is left of the weight: is the error measured against W as it was, uncut?"
        return f"a limit of {best:.3g} has a smaller error than yours, {limit:.3g}: one block, in fine steps?"


def cut_error(weight, levels, limit):
    """The relative error of `weight` after it is cut off at `limit` and quantised in one block."""
    block = weight.numel()
    codes, absmax = quantize(weight.clamp(-limit, limit), levels, block)
    restored = dequantize(codes, absmax, levels, block).view(weight.shape)
    return ((restored - weight).norm() / weight.norm()).item()
