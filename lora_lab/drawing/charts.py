"""What the lessons draw again and again: a chart with its curves, panels side by side, pictures in rows."""

import matplotlib.pyplot as plt
import numpy as np

from lora_lab.drawing.style import CONTROL, INK, LETTERS


def chart(title, x="", y="", ranks=None, size=(7, 3.6), **settings):
    """A figure with one pair of axes and its title, as (figure, axes); `x` and `y` label the axes.

    `ranks`, and nothing else, stand on a logarithmic x axis; `settings` go to `axes.set`. Ticks that are set
    on a logarithmic axis are written as plain numbers, 1,000 and not 10³.
    """
    figure, axes = plt.subplots(figsize=size)
    axes.set_title(title)
    set_up(axes, x, y, ranks, settings)
    return figure, axes


def panels(title, names, x="", y="", ranks=None, size=(9, 3.4), **settings):
    """Axes side by side, one for each of `names`, on one y axis and under one title, as (figure, list of
    axes); the rest as in `chart`.
    """
    figure, row = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    corner = row[0, 0].get_position()
    place = {"x": corner.x0, "y": corner.y1 + 0.32 / size[1], "ha": "left", "va": "bottom"}
    figure.suptitle(title, fontsize=11, **place)
    for axes, name in zip(row[0], names, strict=True):
        axes.set_title(name, fontsize=10)
        set_up(axes, x, y if axes is row[0, 0] else "", ranks, settings)
    return figure, list(row[0])


def set_up(axes, x, y, ranks, settings):
    """Label the axes and set what `chart` says of `ranks` and `settings`."""
    if ranks is not None:
        settings = {"xscale": "log", "xticks": ranks, **settings}
    axes.set(xlabel=x, ylabel=y, **settings)
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        ticks = settings.get(f"{name}ticks", ())
        if axis.get_scale() != "linear":
            axis.set_ticks([], minor=True)
            if len(ticks):
                axis.set_ticks(ticks, [f"{tick:,.12f}".rstrip("0").rstrip(".") for tick in ticks])


def note(axes, point, text, dx=0, dy=0, color=INK, ha="left"):
    """Write `text` beside a `point` of the plot, shifted right by `dx` and up by `dy`, in points."""
    shift = {"xytext": (dx, dy), "textcoords": "offset points", "va": "center", "ha": ha}
    axes.annotate(text, point, color=LETTERS.get(color, color), annotation_clip=False, **shift)


def curve(axes, x, y, text="", at=-1, dx=None, dy=0, ha="left", **style):
    """A line through measured points, with `text` beside the point number `at`, the last one if not said, in
    the line's colour instead of a legend. `style` goes to `axes.plot`: `marker=""` for a smooth curve,
    `linestyle=""` for points alone, `**CONTROL` for a control. Gives the line.
    """
    (line,) = axes.plot(list(x), list(y), **{"color": INK, "marker": "o", **style})
    if text:
        beside = {"left": 6, "center": 0, "right": -6}[ha] if dx is None else dx
        note(axes, line.get_xydata()[at], text, beside, dy, line.get_color(), ha)
    return line


def valley(axes, x, y, text="", dx=0, dy=-12, ha="center", **style):
    """A `curve` whose lowest point is drawn large and carries the text: the best of a sweep."""
    best = int(np.argmin(y))
    line = curve(axes, x, y, text, best, dx, dy, ha, **style)
    axes.plot(x[best], y[best], "o", color=line.get_color(), markersize=9)


def level(axes, y, text="", at=0, dy=8, ha="left", **style):
    """A horizontal line at `y`, a control if no `style` is given, with `text` above it at x = `at`."""
    line = axes.axhline(y, **(style or CONTROL))
    note(axes, (at, y), text, dy=dy, color=line.get_color(), ha=ha)


def values_of(runs, *names):
    """The values of each of `names` in `runs`, a list of dictionaries, in the order of the first name."""
    return [
        list(values) for values in zip(*sorted([run[name] for name in names] for run in runs), strict=True)
    ]


def gallery(pictures, per_row=None, width=7, **how):
    """A figure of `pictures`, a dictionary title -> array, `per_row` in a row, or all in one. `how` goes to
    `imshow`; without it, pixels reach from 0 to 255.
    """
    per_row = min(per_row or len(pictures), len(pictures))
    rows, gap, above = -(-len(pictures) // per_row), 0.1, 0.3  # inches between pictures and for a title
    tallest = max(np.shape(pixels)[0] / np.shape(pixels)[1] for pixels in pictures.values())
    wide = width / per_row - gap
    high = wide * min(tallest, 1.5)  # what is taller is drawn smaller
    figure = plt.figure(figsize=(width, rows * (high + above)))
    grid = figure.subplots(rows, per_row, squeeze=False).flat
    figure.subplots_adjust(0.005, 0.01, 0.995, 1 - above / figure.get_figheight(), gap / wide, above / high)
    for axes, (title, pixels) in zip(grid, pictures.items(), strict=False):
        axes.imshow(pixels, **{"vmin": 0, "vmax": 255, **how})
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=10)
    for axes in figure.axes[len(pictures) :]:
        axes.remove()
    return figure
