"""images/ holds exactly what `python -m lora_lab.drawing.diagrams` draws, and every diagram is shown."""

import json

import matplotlib.pyplot as plt
import pytest
from figure_rules import picture_differences, statement_differences
from notebook_rules import NOTEBOOKS, ROOT, cells, read, written_pictures
from PIL import Image

from lora_lab.drawing.diagrams import FIGURES, write_all

IMAGES = ROOT / "images"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with all diagrams, drawn afresh."""
    folder = tmp_path_factory.mktemp("images")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def shown():
    """(alt text, file name) of every picture of images/ that a notebook or the README shows."""
    texts = [cell.source for path in NOTEBOOKS.glob("*.ipynb") for _, cell in cells(read(path), "markdown")]
    texts.append((ROOT / "README.md").read_text(encoding="utf-8"))
    pictures = [picture for text in texts for picture in written_pictures(text)]
    return [(alt, source.split("/")[-1]) for alt, source in pictures if "images/" in source]


def test_the_folder_holds_these_diagrams_and_no_others(drawn):
    """A diagram that lost its function, or was never drawn, shows here."""
    names = {path.name for path in IMAGES.glob("figure_*.png")}
    assert names == {path.name for path in drawn.iterdir()} == set(FIGURES), "run `make figures`"


@pytest.mark.parametrize("name", FIGURES)
def test_a_diagram_is_what_its_function_draws(name, drawn):
    """Up to what another computer's rounding changes."""
    problems = picture_differences((IMAGES / name).read_bytes(), (drawn / name).read_bytes())
    assert not problems, f"{name} {problems}: run `make figures`"


@pytest.mark.parametrize("name", FIGURES)
def test_a_diagram_says_what_its_function_says(name, drawn):
    """And where it says it: an arrow that moved changes too few pixels to be seen above."""
    saved, fresh = (json.loads(Image.open(folder / name).text["figure"]) for folder in (IMAGES, drawn))
    assert saved["numbers"]
    assert not statement_differences(saved, fresh), f"{name}: run `make figures`"


@pytest.mark.parametrize("name", FIGURES)
def test_a_diagram_is_shown_with_its_own_alt_text(name, shown):
    """What the function says about its figure is what a reader who cannot see it is told."""
    figure, alt = FIGURES[name]()
    plt.close(figure)
    assert {text for text, file in shown if file == name} == {alt}
