"""A picture as a matrix: load it, truncate it, measure how good it still is. Lesson 03 builds on this file.

Pixels are uint8 arrays, 0 (dark) to 255 (bright): (height, width) for grey, (height, width, 3) for red,
green, blue.
"""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lora_lab.low_rank import check_matrix, check_rank, truncate_svd

BYTES_PER_FLOAT = 4  # the factors are stored in float32
MOST_PIXELS = 1_000_000  # beyond about 1000 x 1000 lesson 03 takes minutes


def load_picture(path):
    """Pixels of the picture at `path`, in any format and mode that Pillow opens.

    A picture in a mode without colour comes back as (height, width), any other as (height, width, 3).
    Orientation tags are obeyed, transparent parts become white, 16-bit values are scaled to 0..255. A picture
    of more than MOST_PIXELS pixels is scaled down, and a UserWarning says so. FileNotFoundError if there is
    no such file, ValueError if it is no picture, damaged, or so large that Pillow takes it for an attack.
    """
    path = Path(path)
    if not os.path.isfile(path):  # Path.is_file raises OSError for a name that is too long
        raise FileNotFoundError(
            f"there is no file {str(path)!r}: put your picture into the folder images/ and check its name"
        )
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            pixels = picture_to_pixels(ImageOps.exif_transpose(picture))
    except Exception as error:  # of any type: decoders do not check all that they read
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path.name} cannot be read as a picture: {reason}") from error
    return scaled_down(pixels, MOST_PIXELS, path.name)


def picture_to_pixels(picture):
    """Pixels of a Pillow image of any mode, as `load_picture` describes them."""
    if picture.mode.startswith("I"):  # whole numbers of 16 bits, in several byte orders
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"16 bits hold 0 to 65535, but it has {values.min()} to {values.max()}")
        white = np.where(values == picture.info.get("transparency"), 65535, values)
        return to_uint8(white / 65535 * 255)
    if picture.mode == "F":  # floating point has no agreed white: stretch what there is
        values = check_matrix(np.asarray(picture)).astype(np.float64)  # where no difference overflows
        return to_uint8((values - values.min()) / (np.ptp(values) or 1) * 255)
    grey = picture.mode in ("1", "L", "LA", "La")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("L" if grey else "RGB"))


def scaled_down(pixels, limit, name):
    """`pixels` if they are at most `limit`, else a smaller copy, and a UserWarning that names the picture."""
    height, width = pixels.shape[:2]
    if height * width <= limit:
        return pixels
    scale = (limit / (height * width)) ** 0.5
    smaller = [max(int(side * scale), 1) for side in (width, height)]
    warnings.warn(
        f"{name} has {width} x {height} pixels, more than {limit:,}, so it was scaled down to "
        f"{smaller[0]} x {smaller[1]}",
        stacklevel=3,
    )
    return np.asarray(Image.fromarray(pixels).resize(smaller, Image.Resampling.LANCZOS))


def to_grey(pixels):
    """Brightness (height, width) of grey or coloured pixels: 0.299 red + 0.587 green + 0.114 blue (ITU-R
    BT.601).
    """
    return pixels if pixels.ndim == 2 else to_uint8(pixels @ np.array([0.299, 0.587, 0.114]))


def to_uint8(values):
    """Round to whole numbers and clip to 0..255: a truncated SVD overshoots, and 256 stored in a byte would
    wrap to 0.
    """
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def channels(pixels):
    """The matrices of a picture: one for grey, three for colour."""
    return [pixels] if pixels.ndim == 2 else [pixels[..., c] for c in range(pixels.shape[2])]


def decompose(pixels):
    """Reduced SVDs, one per channel: compute them once, then `reconstruct` at any rank."""
    return [np.linalg.svd(channel.astype(np.float64), full_matrices=False) for channel in channels(pixels)]


def reconstruct(svds, rank):
    """Pixels of the picture kept to rank `rank` in each channel, from `decompose`. Raises what `check_rank`
    raises.
    """
    layers = []
    for U, s, Vt in svds:
        B, A = truncate_svd(U, s, Vt, rank)
        layers.append(to_uint8(B @ A))
    return layers[0] if len(layers) == 1 else np.stack(layers, axis=2)


def psnr(original, approximation, peak=255):
    """Peak signal-to-noise ratio in decibels, 10 log10(peak^2 / mean squared error): higher is better, inf if
    equal.

    `peak` is the largest value a pixel can have, 255 for bytes, not the largest in this picture. ValueError
    if shapes differ.
    """
    if original.shape != approximation.shape:
        raise ValueError(f"both pictures must have one shape, got {original.shape} and {approximation.shape}")
    mean_squared_error = np.mean((original.astype(np.float64) - approximation.astype(np.float64)) ** 2)
    if mean_squared_error == 0:
        return float("inf")
    return float(10 * np.log10(peak**2 / mean_squared_error))


def stored_numbers(pixels, rank):
    """Numbers in the factors B and A of all channels: channels * rank * (height + width). Raises what
    `check_rank` raises.
    """
    height, width = pixels.shape[:2]
    check_rank(rank, height, width)
    return len(channels(pixels)) * rank * (height + width)


def stored_bytes(pixels, rank):
    """Bytes of the float32 factors B and A of all channels. Raises what `check_rank` raises."""
    return BYTES_PER_FLOAT * stored_numbers(pixels, rank)
