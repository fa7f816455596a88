"""What a figure says, in texts and numbers: two runs of a lesson are compared by it, and not by pixels."""

import numpy as np
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.ticker import FixedLocator

MOST_POINTS = 32  # of a longer line, every so many-th point is kept, with the first and the last
GRID = 16  # of an image, the means of 16 x 16 blocks are kept


def statements(figure):
    """The `texts` of a figure (its title, and the titles, labels, legends and set ticks of all axes) and its
    `numbers`, one string for each thing that is drawn: what it is, a colon, and its numbers to 4 digits, for
    most things all x, a semicolon and all y.
    """
    texts = [text.get_text() for text in figure.texts]
    numbers = []
    for axes in figure.axes:
        texts += [axes.get_title(side) for side in ("left", "center", "right")]
        texts += [axes.get_xlabel(), axes.get_ylabel(), *set_ticks(axes.xaxis), *set_ticks(axes.yaxis)]
        texts += [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
        scales = f"axes, {axes.get_xscale()} and {axes.get_yscale()}"
        numbers.append(statement(scales, axes.get_xlim(), axes.get_ylim()))
        numbers += [statement(*of_text(text)) for text in axes.texts]
        numbers += [statement(*of_line(drawn)) for drawn in axes.lines]
        numbers += [statement(*of_patch(drawn)) for drawn in axes.patches]
        numbers += [statement(*of_collection(drawn)) for drawn in axes.collections]
        numbers += [statement(*of_image(drawn)) for drawn in axes.images]
    return {"texts": list(filter(None, texts)), "numbers": numbers}


def statement(what, *groups):
    """One line: what is drawn, and its numbers."""
    return f"{what}: {'; '.join(' '.join(f'{value:.4g}' for value in np.ravel(group)) for group in groups)}"


def thinned(values):
    """At most MOST_POINTS rows of `values`, at even distances, the first and the last among them."""
    values = np.asarray(values, dtype=float)
    keep = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS))
    return values[np.rint(keep).astype(int)]


def set_ticks(axis):
    """The labels of an axis whose ticks were set, or are names, and not numbers that matplotlib chose."""
    locator = axis.get_major_locator()
    fixed = isinstance(locator, FixedLocator | StrCategoryLocator) and len(locator())
    return [" ".join(axis.get_major_formatter().format_ticks(locator()))] if fixed else []


def of_text(text):
    """Where a text stands, and where its arrow begins."""
    ends = [getattr(text, "xy", text.get_position())]
    if getattr(text, "arrow_patch", None):
        ends.append(text.xyann)
    x, y = zip(*ends, strict=True)
    return f"note {text.get_text()!r}", text.convert_xunits(x), text.convert_yunits(y)


def of_line(drawn):
    """A line's look and its points."""
    look = f"{to_hex(drawn.get_color())} {drawn.get_linestyle()} {drawn.get_marker()}"
    points = drawn.get_xydata()
    return f"line {look}, {len(points)} points", *thinned(points).T


def of_patch(drawn):
    """The corners of a bar or of another shape."""
    path = drawn.get_path().transformed(drawn.get_patch_transform())
    return f"{type(drawn).__name__} {to_hex(drawn.get_facecolor())}", *thinned(path.vertices).T


def of_collection(drawn):
    """The points of a scatter plot, or the corners of lines (error bars) and areas."""
    if isinstance(drawn, PathCollection):
        points = np.ma.getdata(drawn.get_offsets())
    else:
        points = np.concatenate([path.vertices for path in drawn.get_paths()])
    return f"{type(drawn).__name__} of {len(points)} points", *thinned(points).T


def of_image(drawn):
    """An image's shape, and its means in a grid of blocks, row by row."""
    pixels = np.asarray(drawn.get_array(), dtype=float)
    shape = " x ".join(map(str, pixels.shape))
    for axis in (0, 1):
        parts = np.array_split(pixels, min(GRID, pixels.shape[axis]), axis)
        pixels = np.stack([part.mean(axis) for part in parts], axis)
    return f"image of {shape}, {drawn.get_cmap().name}", drawn.get_clim(), pixels
