"""A picture has alt text, and a slider shows either a picture or the error."""

import base64
import io
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from lora_lab.drawing import Explorer, Picture, label_end, show


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


def test_a_label_stands_at_the_end_of_its_line_in_its_colour():
    axes = figure().axes[0]
    label_end(axes, axes.lines[0], "loss", dy=3)
    [label] = axes.texts
    assert label.get_text() == "loss" and label.xy == (1, 1)
    assert label.get_color() == axes.lines[0].get_color()


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


def test_an_explorer_without_alt_text_says_so():
    explorer = Explorer(lambda rank: (figure(), ""), rank=[1])
    assert "alt must say" in explorer.picture.value


def test_an_explorer_says_in_words_what_it_is():
    bundle = Explorer(draw, rank=[1], seed=[0])._repr_mimebundle_()
    assert bundle["text/plain"].startswith("A slider over rank and seed")
    assert "application/vnd.jupyter.widget-view+json" in bundle
