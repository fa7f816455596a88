"""What a figure says, in texts and numbers: two runs of a lesson are compared by it, and not by pixels."""

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.ticker import FixedLocator

MOST_POINTS = 32  # of a longer line, every so many-th point is kept, with the first and the last
GRID = 16  # of an image, the means of 16 x 16 blocks are kept


def statements(figure):
    """The `texts` of a figure (its title, and for each axes titles, labels and ticks that were set) and its
    `numbers`, one string for each thing that is drawn: what it is, a colon, and its numbers to 4 digits (to
    3 for images).
    """
    texts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    numbers = []
    for axes in figure.axes:
        texts += [axes.get_title(side) for side in ("left", "center", "right")]
        texts += [axes.get_xlabel(), axes.get_ylabel(), *set_ticks(axes.xaxis), *set_ticks(axes.yaxis)]
        limits = f"axes, {axes.get_xscale()} and {axes.get_yscale()}"
        numbers.append(statement(limits, [*axes.get_xlim(), *axes.get_ylim()]))
        numbers += [statement(f"note {text.get_text()!r}", note_numbers(text)) for text in axes.texts]
        numbers += [statement(*line_numbers(line)) for line in axes.lines]
        numbers += [statement(*patch_numbers(patch)) for patch in axes.patches]
        numbers += [statement(*collection_numbers(collection)) for collection in axes.collections]
        numbers += [statement(*image_numbers(image), digits=3) for image in axes.images]
    return {"texts": list(dict.fromkeys(filter(None, texts))), "numbers": numbers}


def statement(what, values, digits=4):
    """One line: `what` is drawn, and its numbers."""
    return f"{what}: {' '.join(f'{value:.{digits}g}' for value in np.ravel(values))}"


def thinned(values):
    """At most MOST_POINTS rows of `values`, at even distances, the first and the last among them."""
    values = np.asarray(values, dtype=float)
    keep = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS))
    return values[np.rint(keep).astype(int)]


def set_ticks(axis):
    """The labels of an axis whose ticks were set and not chosen by matplotlib."""
    locator = axis.get_major_locator()
    fixed = isinstance(locator, FixedLocator) and len(locator.locs)
    return [" ".join(axis.get_major_formatter().format_ticks(locator.locs))] if fixed else []


def note_numbers(text):
    """Where a text stands, or the two ends of its arrow."""
    place = getattr(text, "xy", text.get_position())
    return [*place, *text.xyann] if getattr(text, "arrow_patch", None) else place


def line_numbers(line):
    """A line's look, then all its x, then all its y."""
    look = f"{to_hex(line.get_color())} {line.get_linestyle()} {line.get_marker()}"
    x, y = thinned(line.get_xydata()).T
    return f"line {look}, {len(line.get_xdata())} points", [*x, *y]


def patch_numbers(patch):
    """A bar's left, lower, right and upper edge, or the corners of another shape."""
    path = patch.get_path().transformed(patch.get_patch_transform())
    return f"{type(patch).__name__} {to_hex(patch.get_facecolor())}", thinned(path.vertices)


def collection_numbers(collection):
    """The points of a scatter plot, or the corners of lines (error bars) and areas."""
    if isinstance(collection, PathCollection):
        points = np.ma.getdata(collection.get_offsets())
    else:
        points = np.concatenate([path.vertices for path in collection.get_paths()])
    return f"{type(collection).__name__} of {len(points)} points", thinned(points)


def image_numbers(image):
    """An image's shape, and its means in a grid of blocks, row by row."""
    pixels = np.asarray(image.get_array(), dtype=float)
    for axis in (0, 1):
        parts = np.array_split(pixels, min(GRID, pixels.shape[axis]), axis)
        pixels = np.stack([part.mean(axis) for part in parts], axis)
    shape = " x ".join(map(str, image.get_array().shape))
    return (
        f"image of {shape}, {image.get_cmap().name} from {image.norm.vmin:g} to {image.norm.vmax:g}",
        pixels,
    )
