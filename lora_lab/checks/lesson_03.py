"""Checkers of lesson 03, image compression."""

import numpy as np

from lora_lab.checks import attempt, checker
from lora_lab.images import decompose, psnr, reconstruct
from lora_lab.low_rank import eckart_young_error


@checker
def check_break_even_in_bytes(break_even_in_bytes):
    """Exercise 3.1: the largest r with bytes_per_number * r * (height + width) < height * width."""
    rank = attempt(break_even_in_bytes, 600, 512, 4)
    if rank == 276:
        return "276 counts numbers; a number in B or A takes 4 bytes, a pixel takes one"
    if rank != 69:
        return f"for 600 x 512 in float32 rank 69 takes 306,912 bytes and 70 takes 311,360; yours is {rank}"
    if break_even_in_bytes(600, 512, 2) != 138:
        return f"in float16 (2 bytes) it must be 138, yours is {break_even_in_bytes(600, 512, 2)}"
    if break_even_in_bytes(64, 64, 4) != 7:
        return (
            "for 64 x 64 in float32, rank 8 takes exactly as many bytes as the pixels: fewer is asked for, "
            f"so 7, yours is {break_even_in_bytes(64, 64, 4)}"
        )


@checker
def check_rank_for_psnr(rank_for_psnr):
    """Exercise 3.2: the smallest k with 10 log10(255^2 / (error_k^2 / pixels)) >= target."""
    shape = (30, 20)
    s = 2000.0 * 0.7 ** np.arange(20)
    quality = [10 * np.log10(255**2 * 600 / eckart_young_error(s, rank) ** 2) for rank in range(1, 20)]
    for rank in (3, 8, 15):
        target = quality[rank - 1] - 0.1
        found = attempt(rank_for_psnr, s, shape, target)
        if found == rank - 1:
            return "one rank short: does your first error belong to rank 1?"
        if found == rank + 1:
            return "one rank too many: the smallest rank that reaches the target is asked for"
        if found != rank:
            return f"for {target:.1f} dB it must be {rank}, not {found}; is the error divided by the pixels?"
    if rank_for_psnr(np.array([900.0, 500.0, 0.0]), (4, 3), 300.0) != 2:
        return "when nothing is cut off the error is 0 and every target is reached: here at rank 2"


@checker
def check_compress_side_by_side(compress_side_by_side):
    """Exercise 3.3: one SVD of [red | green | blue], put together again as (height, width, 3) uint8."""
    rng = np.random.default_rng(33)
    base = np.outer(rng.integers(60, 200, 24), rng.integers(20, 250, 18)) / 250
    pixels = np.stack([base, base * 0.6, 250 - base], axis=2).astype(np.uint8)
    picture = np.asarray(attempt(compress_side_by_side, pixels, 3))
    if picture.shape != pixels.shape:
        return f"the picture must come back as {pixels.shape}, yours is {picture.shape}"
    if picture.dtype != np.uint8:
        return f"the pixels must be uint8, yours are {picture.dtype}: round and clip"
    full = np.asarray(compress_side_by_side(pixels, 24))
    if not (full == pixels).all():
        if psnr(pixels, full) < 30:
            return "at full rank the picture must come back; are rows, columns and colours in their places?"
        return "at full rank the picture must come back exactly: do you round before you convert?"
    noise = rng.integers(0, 256, (24, 18, 3), dtype=np.uint8)
    wide = np.concatenate([noise[..., c] for c in range(3)], axis=1)
    expected = np.stack(np.split(reconstruct(decompose(wide), 5), 3, axis=1), axis=2)
    ours = np.asarray(compress_side_by_side(noise, 5))
    if (ours == reconstruct(decompose(noise), 5)).all():
        return "this is one SVD per channel: put the channels side by side and take one SVD of all"
    if np.abs(ours.astype(int) - expected).max() > 1:
        return "at rank 5 it is not the truncated SVD of the wide matrix [red | green | blue]"
