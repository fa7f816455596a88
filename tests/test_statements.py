"""A figure says what is drawn in it, and two figures are the same if they say the same."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figure_rules import figure_differences, same_group
from nbformat.v4 import new_output

from lora_lab.drawing import CONTROL, Picture, chart, curve, level, panels
from lora_lab.drawing.statements import MOST_POINTS, statements


def every_kind(
    factor=1.0, title="A title", tick="q", note="here", color="#e69f00", top=9, legend="both", start=0
):
    """A figure with all kinds of things in it, all its numbers multiplied by `factor`."""
    figure, left = chart(title, "rank", "loss", ranks=(1, 8, 64), ylim=(0, top))
    right = figure.add_subplot(1, 2, 2)
    curve(left, (1, 8, 64), factor * np.array([3, 2, 1]), color=color)
    level(left, 2 * factor, note, at=1)
    right.plot([0, 1], [0, factor], label=legend)
    right.legend()
    right.bar(["k", tick], factor * np.array([3, 4]))
    right.errorbar([0, 1], factor * np.array([1, 2]), factor * 0.1)
    right.scatter([0, 1], factor * np.array([0.3, 0.4]))
    right.stairs(factor * np.array([0.1, 0.2]), [0, 1, 2], fill=True)
    right.annotate("", (factor, factor), (0, start), arrowprops={})
    right.imshow(factor * np.outer(np.arange(32), np.arange(64)), vmin=0, vmax=2000)
    return figure


def output(figure):
    """The output that shows a figure."""
    data, metadata = Picture(figure, "A figure.")._repr_mimebundle_()
    return new_output("display_data", data, metadata=metadata)


def test_a_figure_says_its_texts():
    texts = statements(every_kind())["texts"]
    plt.close("all")
    assert texts == ["A title", "rank", "loss", "1 8 64", "k q", "both"]


def test_a_figure_says_its_numbers():
    figure, axes = chart("A title", xlim=(0, 5), ylim=(-1, 1))
    curve(axes, (1, 2, 4), (0.25, 1 / 3, 0.5), "end", **CONTROL)
    axes.bar([3], [0.125])
    axes.imshow([[1, 2], [3, 4]], vmin=0, vmax=9)
    axes.set(xlim=(0, 5), ylim=(-1, 1))
    assert statements(figure)["numbers"] == [
        "axes, linear and linear: 0 5; -1 1",
        "note 'end': 4; 0.5",
        "line #8a8a8a -- , 3 points: 1 2 4; 0.25 0.3333 0.5",
        "Rectangle #1f77b4: 2.6 3.4 3.4 2.6 2.6; 0 0 0.125 0.125 0",
        "image of 2 x 2, gray: 0 9; 1 2 3 4",
    ]
    plt.close("all")


def test_a_long_curve_is_thinned_from_its_first_point_to_its_last():
    figure, axes = chart("A title")
    curve(axes, range(1000), range(1000))
    [line] = [line for line in statements(figure)["numbers"] if line.startswith("line")]
    x = [float(number) for number in line.split(": ")[1].split("; ")[0].split()]
    assert len(x) == MOST_POINTS and x[0] == 0 and x[-1] == 999 and np.ptp(np.diff(x)) <= 1
    plt.close("all")


def test_an_image_is_its_means_in_blocks():
    pixels = np.random.default_rng(0).random((32, 48))
    figure, axes = chart("A title")
    axes.imshow(pixels)
    [line] = [line for line in statements(figure)["numbers"] if line.startswith("image")]
    means = np.array(line.split("; ")[1].split(), dtype=float)
    assert np.allclose(means, pixels.reshape(16, 2, 16, 3).mean((1, 3)).ravel(), atol=1e-4)
    plt.close("all")


def test_a_coloured_image_is_its_means_in_each_colour():
    figure, axes = chart("A title")
    axes.imshow(np.array([[[255, 0, 9], [1, 2, 3]]], dtype=np.uint8))
    assert statements(figure)["numbers"][-1] == "image of 1 x 2 x 3, gray: 0 255; 255 0 9 1 2 3"
    plt.close("all")


def test_a_label_that_stands_twice_is_said_twice():
    figure, _ = panels("A title", ["left", "right"], "rank")
    assert statements(figure)["texts"] == ["A title", "left", "rank", "right", "rank"]
    plt.close("all")


def test_the_same_figure_says_the_same():
    assert figure_differences(output(every_kind()), output(every_kind())) == []


def test_another_processor_may_round():
    assert figure_differences(output(every_kind()), output(every_kind(1.003))) == []


@pytest.mark.parametrize("kind", ["note", "line", "Rect", "LineC", "PathC", "StepPatch", "note ''", "image"])
def test_each_kind_a_tenth_too_high_is_seen(kind):
    """The lines of all kinds appear in the report."""
    [*found] = figure_differences(output(every_kind()), output(every_kind(1.1)))
    assert any(f"\n-{kind}" in difference for difference in found), found


@pytest.mark.parametrize(
    "change",
    [{"title": "Something else"}, {"tick": "v"}, {"note": "there"}, {"color": "#222222"}, {"legend": "one"}],
    ids=lambda change: next(iter(change)),
)
def test_another_word_or_colour_is_seen(change):
    [found] = figure_differences(output(every_kind()), output(every_kind(**change)))
    assert "says something else" in found and next(iter(change.values())) in found


def test_a_cut_axis_and_a_turned_arrow_are_seen():
    [found] = figure_differences(output(every_kind()), output(every_kind(top=4)))
    assert "axes, log and linear" in found
    [found] = figure_differences(output(every_kind()), output(every_kind(start=1)))
    assert "note ''" in found


@pytest.mark.parametrize(
    "before, after, same",
    [
        ("0.33 0.5", "0.334 0.5", True),
        ("0.33 0.5", "0.36 0.5", False),
        ("0 100", "0.4 100", True),  # little beside the largest
        ("0 100", "2 100", False),
        ("1e-06", "2.5e-06", True),  # rounding errors
        ("1e-06", "4e-06", False),
        ("3e-15", "0", True),
        ("1 2", "1 2 3", False),
        ("nan 1", "nan 1", True),
        ("nan 1", "0 1", False),
        ("-1", "1", False),
    ],
)
def test_numbers_agree_to_the_stated_tolerance(before, after, same):
    assert same_group(before, after) is same


def test_a_picture_that_says_nothing_is_compared_by_its_pixels():
    plain, other = (output(every_kind(factor)) for factor in (1, 1.1))
    plain.metadata, other.metadata = {}, {}
    assert figure_differences(plain, plain) == []
    assert "another picture" in figure_differences(plain, other)[0]
