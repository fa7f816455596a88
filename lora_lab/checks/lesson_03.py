"""Checkers of lesson 03, image compression."""

import numpy as np

from lora_lab.checks import attempt, checker
from lora_lab.images import decompose, psnr, reconstruct

CHANGES = {  # of a picture, all with the pixels of the old one or made of them one by one
    "mirrored": lambda picture: picture[:, ::-1],
    "quarter turn": np.rot90,
    "negative": lambda picture: 255 - picture,
}


@checker
def check_unchanged(unchanged):
    """Exercise 3.1: the names of the CHANGES that leave the singular values of every picture as they are."""
    names = [unchanged] if isinstance(unchanged, str) else list(unchanged)
    for name in names:
        if name not in CHANGES:
            return f"there is no change {name!r}; the three are {', '.join(CHANGES)}"
    picture = np.outer(np.arange(1, 5), [10, 50, 50, 10, 30, 20])  # of rank 1
    before = np.linalg.svd(picture, compute_uv=False)
    for name, change in CHANGES.items():
        after = np.linalg.svd(change(picture), compute_uv=False)
        keeps = np.allclose(before[:4], after[:4])
        if keeps != (name in names):
            told = f"its rank is {np.linalg.matrix_rank(change(picture))}, s_1 is {after[0]:.0f}"
            told = told if not keeps else "its singular values are the same"
            return f"take a picture of rank 1 with s_1 = {before[0]:.0f}: {name}, {told}"


@checker
def check_stubborn_picture(stubborn):
    """Exercise 3.2: 16 x 16 pixels of 0 and 255 whose 16 singular values are equal."""
    picture = np.asarray(stubborn, dtype=float)
    if picture.shape != (16, 16):
        return f"the picture must have the shape (16, 16), yours has {picture.shape}"
    if not np.isin(picture, (0, 255)).all():
        return f"a pixel must be 0 or 255, yours go from {picture.min():.0f} to {picture.max():.0f}"
    s = np.linalg.svd(picture, compute_uv=False)
    if np.allclose(s, s[0]) and s[0] > 0:
        return None
    if (rank := np.linalg.matrix_rank(picture)) < 16:
        return f"its rank is only {rank}: a row must never be a mixture of the other rows"
    return f"its rank is 16, but its singular values go from {s[0]:.0f} to {s[-1]:.0f}: fewer white pixels?"


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
    noise = rng.integers(0, 256, (24, 18, 3), dtype=np.uint8)
    ours = np.asarray(compress_side_by_side(noise, 5))
    if (ours == reconstruct(decompose(noise), 5)).all():
        return "this is one SVD per channel: put the channels side by side and take one SVD of all"
    full = np.asarray(compress_side_by_side(pixels, 24))
    if not (full == pixels).all():
        if psnr(pixels, full) < 30:
            return "at full rank the picture must come back; are rows, columns and colours in their places?"
        return "at full rank the picture must come back exactly: do you round before you convert?"
    wide = np.concatenate([noise[..., c] for c in range(3)], axis=1)
    expected = np.stack(np.split(reconstruct(decompose(wide), 5), 3, axis=1), axis=2)
    off = np.abs(ours.astype(int) - expected) > 1
    if 0 < off.mean() < 0.05:
        return "nearly all pixels are right: do you clip to 0..255 before you convert?"
    if off.any():
        return "at rank 5 it is not the truncated SVD of the wide matrix [red | green | blue]"
