"""A picture has alt text, a chart is drawn as asked, and a slider shows either a picture or the error."""

import base64
import io
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from lora_lab.drawing import (
    CONTROL,
    Explorer,
    Picture,
    chart,
    curve,
    gallery,
    level,
    note,
    panels,
    show,
    valley,
    values_of,
)
from lora_lab.drawing import style as palette


def figure():
    drawn, axes = plt.subplots()
    axes.plot([0, 1], [0, 1])
    return drawn


def image_tag(html):
    """Attributes of the one tag in `html`, as a browser reads them."""
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(html)
    [(tag, attributes)] = tags
    assert tag == "img"
    return attributes


@pytest.fixture(autouse=True)
def no_figure_left_open():
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.parametrize("alt", ["", "  ", "\n"])
def test_a_picture_without_alt_text_is_refused(alt):
    with pytest.raises(ValueError, match="alt must say"):
        Picture(figure(), alt)
    with pytest.raises(ValueError, match="alt must say"):
        show(figure(), alt)


@pytest.mark.parametrize("alt", ["a rising line", 'the "best" rank', "A's rank < 3 & B's > 2", '"><script>'])
def test_the_alt_text_reaches_the_reader_as_it_was_written(alt):
    assert image_tag(Picture(figure(), alt)._repr_html_())["alt"] == alt


def test_a_viewer_without_pictures_shows_the_alt_text():
    assert repr(Picture(figure(), "a rising line")) == "Figure: a rising line"


def test_the_html_holds_the_drawn_png():
    source = image_tag(Picture(figure(), "a rising line")._repr_html_())["src"]
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
    assert pixels.min() < 100 < pixels.max()  # something is drawn


def test_the_same_figure_is_the_same_bytes():
    assert Picture(figure(), "a line").png == Picture(figure(), "a line").png


def test_a_drawn_figure_is_closed():
    Picture(figure(), "a line")
    assert not plt.get_fignums()


def test_a_chart_has_its_title_labels_and_settings():
    drawn, axes = chart("A title", "rank", "loss", ylim=(2, 3))
    assert (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()) == ("A title", "rank", "loss")
    assert drawn.axes == [axes] and axes.get_ylim() == (2, 3) and axes.get_xscale() == "linear"


def tick_texts(axis):
    """The labels of an axis, and the places of its minor ticks."""
    return [label.get_text() for label in axis.get_ticklabels()], list(axis.get_minorticklocs())


def test_ranks_and_nothing_else_stand_on_a_logarithmic_axis():
    _, axes = chart("A title", ranks=(1, 8, 64))
    curve(axes, (1, 8, 64), (3, 2, 1))
    assert axes.get_xscale() == "log" and tick_texts(axes.xaxis) == (["1", "8", "64"], [])


def test_ticks_of_a_logarithmic_axis_are_plain_numbers():
    _, axes = chart("A title", yscale="log", yticks=(1e-5, 0.02, 0.1 * 3, 1, 1000.0))
    assert tick_texts(axes.yaxis) == (["0.00001", "0.02", "0.3", "1", "1,000"], [])


def test_panels_share_their_y_axis_and_its_label():
    drawn, (left, right) = panels("Both", ["Adam", "SGD"], "rank", "loss", ranks=(1, 2), ylim=(0, 9))
    assert drawn.get_suptitle() == "Both"
    assert [axes.get_title("left") for axes in (left, right)] == ["Adam", "SGD"]
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "")
    assert right.get_xlabel() == "rank" and tick_texts(right.xaxis)[0] == ["1", "2"]
    left.set_ylim(0, 5)
    assert right.get_ylim() == (0, 5)


def test_a_curve_is_labelled_at_its_end_in_its_colour():
    _, axes = chart("A title")
    line = curve(axes, (1, 2, 3), (4, 6, 5), "loss", color="#0072b2")
    [label] = axes.texts
    assert label.get_text() == "loss" and tuple(label.xy) == (3, 5)
    assert label.get_color() == line.get_color() == "#0072b2"
    assert line.get_xydata().tolist() == [[1, 4], [2, 6], [3, 5]] and line.get_marker() == "o"


def test_a_curve_is_labelled_where_one_wants():
    _, axes = chart("A title")
    curve(axes, (1, 2, 3), (4, 6, 5), "loss", at=1, ha="right", dy=4)
    [label] = axes.texts
    assert tuple(label.xy) == (2, 6) and label.xyann == (-6, 4) and label.get_ha() == "right"


def test_a_control_is_a_thin_dashed_line_without_points():
    _, axes = chart("A title")
    curve(axes, (1, 2), (3, 4), **CONTROL)
    level(axes, 3, "by chance")
    looks = [(line.get_linestyle(), line.get_linewidth(), line.get_marker()) for line in axes.lines]
    assert looks == [("--", 1, "")] * 2


def test_a_level_is_named_above_it():
    _, axes = chart("A title")
    level(axes, 3, "the floor", at=7, color="#222222")
    [line], [label] = axes.lines, axes.texts
    assert line.get_ydata() == [3, 3] and line.get_linestyle() == "-"
    assert label.get_text() == "the floor" and label.xy == (7, 3) and label.get_color() == "#222222"


def test_a_valley_marks_its_lowest_point():
    _, axes = chart("A title")
    valley(axes, (1, 2, 3), (5, 4, 6), "best")
    _, mark = axes.lines
    assert mark.get_xydata().tolist() == [[2, 4]] and tuple(axes.texts[0].xy) == (2, 4)


def test_values_are_in_the_order_of_the_first():
    runs = [{"rate": 3, "loss": 1, "seed": 0}, {"rate": 1, "loss": 2, "seed": 0}]
    assert values_of(runs, "rate", "loss") == [[1, 3], [2, 1]]


def test_a_gallery_shows_every_picture_under_its_title():
    pictures = {f"rank {rank}": np.full((30, 20), rank) for rank in range(5)}
    drawn = gallery(pictures, per_row=3)
    assert [axes.get_title("left") for axes in drawn.axes] == list(pictures)
    assert [axes.images[0].get_array().max() for axes in drawn.axes] == list(range(5))
    assert {axes.images[0].get_clim() for axes in drawn.axes} == {(0, 255)}
    boxes = [axes.get_position() for axes in drawn.axes]
    assert boxes[0].y0 == boxes[2].y0 > boxes[3].y1 and boxes[0].x0 == boxes[3].x0 < boxes[1].x0
    [other] = gallery({"a": np.eye(3)}, vmin=-1, vmax=1).axes
    assert other.images[0].get_clim() == (-1, 1)


def draw(rank, seed=0):
    if rank == 8:
        raise ZeroDivisionError("no <rank> 8")
    return figure(), f"rank {rank}, seed {seed}"


def test_an_explorer_shows_the_first_position():
    explorer = Explorer(draw, rank=[1, 2, 4], seed=[5, 6])
    assert image_tag(explorer.picture.value)["alt"] == "rank 1, seed 5"


def test_a_slider_moves_to_both_ends():
    explorer = Explorer(draw, rank=[1, 2, 4], seed=range(3))
    for name, value, alt in [
        ("rank", 4, "rank 4, seed 0"),
        ("seed", 2, "rank 4, seed 2"),
        ("rank", 1, "rank 1, seed 2"),
        ("seed", 0, "rank 1, seed 0"),
    ]:
        explorer.sliders[name].value = value
        assert image_tag(explorer.picture.value)["alt"] == alt


def test_it_draws_when_a_slider_is_let_go_and_not_while_it_moves():
    """A figure takes longer than the next position of the mouse, and the kernel would lag behind."""
    sliders = Explorer(draw, rank=[1, 2, 4], seed=[5, 6]).sliders.values()
    assert len(sliders) == 2 and not any(slider.continuous_update for slider in sliders)


def test_an_error_is_shown_in_place_of_the_picture_and_the_next_position_works():
    explorer = Explorer(draw, rank=[4, 8])
    explorer.sliders["rank"].value = 8
    assert "ZeroDivisionError: no &lt;rank&gt; 8" in explorer.picture.value
    assert "<img" not in explorer.picture.value
    explorer.sliders["rank"].value = 4
    assert image_tag(explorer.picture.value)["alt"] == "rank 4, seed 0"


def test_an_error_at_the_first_position_is_shown_too():
    assert "ZeroDivisionError" in Explorer(draw, rank=[8]).picture.value


def test_a_sliders_pictures_are_of_one_size():
    """A tight box would make the page jump at each move."""

    def titled(rank):
        return chart("A title " * rank, size=(4, 3))[0], "a title"

    explorer = Explorer(titled, rank=[1, 9])
    sizes = set()
    for explorer.sliders["rank"].value in (1, 9):
        data = image_tag(explorer.picture.value)["src"].split(",")[1]
        sizes.add(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == {(400, 300)}


def test_a_walk_visits_every_position_and_goes_back():
    visited = []

    def watched(rank, seed):
        visited.append((rank, seed))
        return figure(), "a line"

    explorer = Explorer(watched, rank=[1, 2, 3], seed=[5, 6])
    explorer.sliders["rank"].value = 2
    assert explorer.faults() == []
    assert {(rank, 5) for rank in (1, 2, 3)} | {(rank, 6) for rank in (1, 2, 3)} == set(visited)
    assert [slider.value for slider in explorer.sliders.values()] == [2, 5]


@pytest.mark.parametrize(
    "most, ranks", [(2, [1, 9]), (3, [1, 5, 9]), (5, [1, 3, 5, 7, 9]), (99, range(1, 10))]
)
def test_a_short_walk_goes_to_both_ends_and_between(most, ranks):
    visited = set()

    def watched(rank):
        visited.add(rank)
        return figure(), "a line"

    assert Explorer(watched, rank=range(1, 10)).faults(most) == []
    assert visited == set(ranks)


def test_a_walk_reports_the_one_position_that_fails():
    assert Explorer(draw, rank=[1, 2, 8, 4]).faults() == ["rank = 8: ZeroDivisionError: no <rank> 8"]
    assert Explorer(draw, rank=[8]).faults() == ["rank = 8: ZeroDivisionError: no <rank> 8"]


def test_an_explorer_without_alt_text_says_so():
    explorer = Explorer(lambda rank: (figure(), ""), rank=[1])
    assert "alt must say" in explorer.picture.value


def test_an_explorer_says_in_words_what_it_is():
    bundle, _ = Explorer(draw, rank=[1], seed=[0])._repr_mimebundle_()
    assert bundle["text/plain"].startswith("A slider over rank and seed")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_an_explorer_keeps_its_positions_and_what_it_shows_at_their_ends():
    def one_point(height, side):
        drawn, axes = chart(f"height {height}", "x", "y")
        axes.plot([side], [height], "o")
        return drawn, f"a point at {height}"

    explorer = Explorer(one_point, height=[("low", 1), ("mid", 5), ("high", 9)], side=[0, 3])
    _, metadata = explorer._repr_mimebundle_()
    texts, numbers = metadata["figure"]["texts"], metadata["figure"]["numbers"]
    assert texts[:7] == ["height", "low", "mid", "high", "side", "0", "3"]
    shown = [line.partition(": ")[2] for line in numbers if line.startswith("line")]
    assert shown == ["0; 1", "0; 9", "3; 1", "3; 9"]
    assert [text for text in texts if text.startswith("a point")] == [f"a point at {h}" for h in (1, 9, 1, 9)]


def test_an_explorer_that_fails_at_an_end_keeps_the_error():
    _, metadata = Explorer(draw, rank=[8, 1])._repr_mimebundle_()
    assert "ZeroDivisionError('no <rank> 8')" in metadata["figure"]["texts"]


def test_a_screen_reader_hears_the_name_of_each_slider():
    """The widget beside the sliders names their handles; a browser shows that it works."""
    explorer = Explorer(draw, rank=[1], seed=[0])
    assert [slider.description for slider in explorer.sliders.values()] == ["rank", "seed"]
    namers = [
        child for child in explorer.box.children if 'setAttribute("aria-label"' in getattr(child, "_esm", "")
    ]
    assert len(namers) == 1


def test_letters_in_the_colours_of_lines_are_dark_enough_to_read():
    """WCAG 2.1, 1.4.3: a contrast of 4.5 on white."""
    lines = (*palette.LETTERS, palette.INK, palette.A_BLUE)
    for colour in lines:
        figure, axes = chart("A title.", "x", "y")
        note(axes, (0, 0), "words", color=colour)
        rgb = np.array(matplotlib.colors.to_rgb(axes.texts[-1].get_color()))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, colour
        plt.close(figure)
