"""Two figures are the same if they say the same, up to the rounding of another processor."""

import base64
import difflib
import io
import re

import numpy as np
from PIL import Image

PNG_IN_HTML = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")

# A number may differ by 1 % of itself and by half a percent of the largest one on its line: after hundreds of
# steps of training, losses differ in the third or fourth digit from one processor to another.
OF_ITSELF, OF_THE_LARGEST = 0.01, 0.005
# Below this, what is drawn are rounding errors of float32, which agree within a factor of 3, and those of
# float64, which are all zero.
ROUNDING, ZERO = 1e-5, 1e-12
MEAN_DIFFERENCE, CHANGED_PIXELS = 2.0, 0.01  # one curve that moves in a figure changes 1.5 % of its pixels


def figure_differences(saved, fresh):
    """The differences between the figures of two outputs. What `lora_lab.drawing.show` showed is compared by
    what it says, another picture by its pixels.
    """
    was, now = (output.get("metadata", {}).get("figure") for output in (saved, fresh))
    pictures = list(zip(png_files(saved), png_files(fresh), strict=False))
    if any(is_blank(png) for pair in pictures for png in pair):
        return ["shows a blank picture"]
    if was and now:
        return statement_differences(was, now)
    if was or now:
        return ["was saved without what its figure says" if now else "does not say what its figure shows"]
    return [difference for pair in pictures for difference in picture_differences(*pair)]


def statement_differences(was, now):
    """The differences between what two figures say (see lora_lab.drawing.statements)."""
    old, new = (figure["texts"] + [what(line) for line in figure["numbers"]] for figure in (was, now))
    if old != new:
        lines = difflib.unified_diff(old, new, "saved", "fresh", "", "", 0, "")
        return ["has a figure that says something else:\n" + "\n".join(lines)]
    return [
        f"has a figure with other numbers:\n-{before}\n+{after}"
        for before, after in zip(was["numbers"], now["numbers"], strict=True)
        if not same_numbers(before, after)
    ]


def what(line):
    """What a line of numbers is about."""
    return line.rpartition(": ")[0]


def same_numbers(before, after):
    """Whether two lines of numbers agree, one group of them after the other."""
    old, new = (line.rpartition(": ")[2].split("; ") for line in (before, after))
    return len(old) == len(new) and all(map(same_group, old, new))


def same_group(before, after):
    """Whether two texts hold the same numbers, to the tolerance above."""
    old, new = (np.array(text.split(), dtype=float) for text in (before, after))
    if old.shape != new.shape or (np.isfinite(old) != np.isfinite(new)).any():
        return False
    old, new = (np.nan_to_num(numbers) for numbers in (old, new))
    larger, smaller = np.maximum(abs(old), abs(new)), np.minimum(abs(old), abs(new))
    allowed = OF_ITSELF * larger + OF_THE_LARGEST * larger.max(initial=0)
    allowed = np.where(larger < ROUNDING, np.maximum(allowed, 2 * smaller + ZERO), allowed)
    return bool((abs(old - new) <= allowed).all())


def png_files(output):
    """The pictures inside an output's HTML, as the bytes of PNG files."""
    return [
        base64.b64decode(text) for text in PNG_IN_HTML.findall(output.get("data", {}).get("text/html", ""))
    ]


def pixels(png):
    """A PNG file as an array."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)


def is_blank(png):
    """Whether nothing is to be seen in a PNG file."""
    return pixels(png).std() < 1


def picture_differences(was, now):
    """What differs between two PNG files by more than another computer's rounding explains."""
    was, now = pixels(was), pixels(now)
    if np.abs(np.subtract(was.shape, now.shape)).max() > 2:
        return [f"has a picture of another size: {was.shape[:2]}, a fresh run gives {now.shape[:2]}"]
    height, width, _ = np.minimum(was.shape, now.shape)
    difference = np.abs(was[:height, :width] - now[:height, :width])
    mean, changed = difference.mean(), (difference.max(axis=2) > 40).mean()
    if mean >= MEAN_DIFFERENCE or changed > CHANGED_PIXELS:
        return [f"has another picture: {changed:.1%} of its pixels changed, by {mean:.2f} of 255 on average"]
    return []
