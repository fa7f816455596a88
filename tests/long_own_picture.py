"""A picture of the reader's own, of any size and mode, never stops lesson 03."""

import contextlib
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from attempts import run
from IPython.display import display
from notebook_rules import NOTEBOOKS, cells, read
from PIL import Image

from lora_lab import images
from lora_lab.drawing import Explorer

LINE = "MY_PICTURE = None"  # in lesson 03: what a reader changes


def stripes(*shape):
    """A picture of `shape` with bright stripes."""
    return np.resize(np.add.outer(np.arange(60), np.arange(200)), shape).astype(np.uint8)


PICTURES = {
    "wide": stripes(60, 300, 3),
    "tiny": stripes(30, 40, 3),
    "of six pixels": stripes(3, 2, 3),
    "grey": stripes(60, 80),
    "transparent": stripes(60, 80, 4),
    "of 16 bits": np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) * 13,
    "constant": np.full((60, 80, 3), 90, dtype=np.uint8),
    "black": np.zeros((60, 80, 3), dtype=np.uint8),
    "large": stripes(150, 200, 3),
}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A copy of the course's folders, and a limit that a small picture exceeds already."""
    for folder in ("notebooks", "images"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(images, "MOST_PIXELS", 25_000)
    with contextlib.chdir(tmp_path / "notebooks"):
        yield tmp_path
    plt.close("all")


@pytest.mark.parametrize("name", PICTURES)
def test_no_cell_of_the_lesson_refuses_a_picture(name, course):
    path = course / "images" / f"{name}.png"
    Image.fromarray(PICTURES[name]).save(path)
    lesson = read(NOTEBOOKS / "03_image_compression.ipynb")
    (cell,) = (cell for _, cell in cells(lesson, "code") if LINE in cell.source)
    cell.source = cell.source.replace(LINE, f"MY_PICTURE = {path.name!r}")
    namespace, problems = {"__name__": "__main__", "display": display}, []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for place, cell in cells(lesson, "code"):
            value = run(cell.source, namespace, place)
            if isinstance(value, Explorer):
                problems += value.faults(most=3)
        expected = images.load_picture(path)
    np.testing.assert_array_equal(namespace["colour"], expected)
    assert not problems
    assert all("was scaled down" in str(warning.message) for warning in warned)
    assert bool(warned) == (name == "large")
