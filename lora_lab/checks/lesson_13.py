"""Checkers of lesson 13, four bits."""

import torch

from lora_lab.checks import attempt, checker


@checker
def check_bits_per_weight(bits_per_weight):
    """Exercise 13.1: 4 + 32 / block, and 4 + 8 / block + 32 / (block * scales block)."""
    single = attempt(bits_per_weight, 64)
    for wrong, hint in (
        (0.5, "the codes themselves are missing"),
        (4 + 4 / 64, "a float32 has 4 bytes; how many bits are that?"),
        (4 + 32, "a scale serves a whole block"),
        (36 / 8, "a weight in blocks of 64 should"),
    ):
        if single == wrong != 4.5:
            return hint
    if abs(single - 4.5) > 1e-9:
        return f"with float32 scales and blocks of 64 a weight costs 4 + 32 / 64 bits, yours is {single:g}"
    double = attempt(bits_per_weight, 64, 256)
    for wrong, hint in (
        (4.5, "with scales_block the scales have 8 bits, not 32"),
        (4 + 8 / 64, "the float32 for each block of scales is missing"),
        (4 + 8 / 64 + 32 / 256, "a block of 256 scales serves 64 * 256 weights"),
        (4 + 32 / (64 * 256), "the codes of 8 bits of the scales are missing"),
    ):
        if abs(double - wrong) < 1e-9:
            return hint
    right = 4 + 8 / 64 + 32 / (64 * 256)
    if abs(double - right) > 1e-9:
        return f"for blocks of 64 and 256 it must be {right:.6f}, yours is {double:g}"
    if abs(bits_per_weight(32, 128) - (4 + 8 / 32 + 32 / (32 * 128))) > 1e-9 or bits_per_weight(16) != 6:
        return "right for blocks of 64, and wrong for others: does it use both arguments?"


@checker
def check_pack_four(pack_four):
    """Exercise 13.2: 64 a + 16 b + 4 c + d."""
    codes = torch.tensor([3, 0, 1, 2, 0, 0, 0, 1, 2, 1, 0, 3], dtype=torch.uint8)
    packed = attempt(pack_four, codes.clone())
    if not isinstance(packed, torch.Tensor) or packed.dtype != torch.uint8:
        return f"a tensor of uint8 is wanted, yours is {getattr(packed, 'dtype', type(packed).__name__)}"
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
