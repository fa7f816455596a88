"""The lessons as pages, as far as this needs no tool that the course does not use. What `make site`, `make
slides` and `make handouts` give is tested by `make pages-test`, in built_pages.py.
"""

import html
import json
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import NOTEBOOKS, ROOT, ImgTags, contents, exercises, read, solution_code
from PIL import Image

from lora_lab.drawing import Explorer
from lora_lab.pages import handouts, heights, lessons, site, sliders, slides

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
each_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_lessons_are_found_by_number():
    assert lessons.lesson_paths() == PATHS
    assert lessons.lesson_paths(["07", "02"]) == [PATHS[7], PATHS[2]]
    with pytest.raises(SystemExit, match="no lesson 7: the lessons are 00, 01"):
        lessons.lesson_paths(["02", "7"])


# Sliders


def test_controls_share_the_pictures_of_a_lesson():
    assert sliders.shares([46, 40], 60) == [30, 30]
    assert sliders.shares([100, 5, 40], 60) == [28, 5, 27]
    assert sliders.shares([10, 11], 60) == [10, 11]
    assert sliders.shares([], 60) == []


@pytest.mark.parametrize(
    ("length", "start", "most"), [(46, 0, 30), (46, 45, 7), (46, 20, 7), (46, 1, 3), (4, 2, 60)]
)
def test_positions_hold_both_ends_and_the_saved_setting(length, start, most):
    places = sliders.chosen_positions(length, start, most)
    assert len(places) == min(length, most) and places == sorted(set(places))
    assert {0, start, length - 1} <= set(places)


def test_positions_are_even():
    assert sliders.chosen_positions(41, 0, 5) == [0, 10, 20, 30, 40]
    assert sliders.chosen_positions(1, 0, 60) == [0]
    with pytest.raises(ValueError, match="are 3 pictures, not 2"):
        sliders.chosen_positions(41, 20, 2)


def line(slope, shift):
    """A figure that an Explorer draws."""
    if slope == 9:
        raise ValueError("too steep")
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1], [shift, slope + shift])
    return figure, f'A line of slope "{slope}" & shift {shift}.'


@pytest.fixture
def line_drawn(tmp_path):
    """What is written for an Explorer with two controls, whose second stands at its last position."""
    explorer = Explorer(line, slope=range(5), shift=[("low", 0), ("high", 2)])
    explorer.sliders["shift"].index = 1
    sliders.draw_sliders([1, explorer, "2"], tmp_path, most=5)
    return tmp_path


def test_each_control_moves_alone_from_its_saved_setting(line_drawn):
    [controls] = json.loads((line_drawn / "index.json").read_text())
    assert [frame["value"] for frame in controls["slope"]["frames"]] == ["0", "2", "4"]
    assert controls["slope"]["frames"][1]["alt"] == 'A line of slope "2" & shift 2.'
    assert [frame["value"] for frame in controls["shift"]["frames"]] == ["low", "high"]
    assert controls["shift"]["saved"] == 1 and controls["slope"]["saved"] == 0
    names = {frame["file"] for control in controls.values() for frame in control["frames"]}
    assert names == {path.name for path in line_drawn.glob("*.png")} and len(names) == 4  # one is in both
    pixels = {Image.open(line_drawn / name).tobytes() for name in names}
    assert len(pixels) == 4


def test_what_cannot_be_drawn_is_said(tmp_path):
    with pytest.raises(RuntimeError, match="too steep"):
        sliders.draw_sliders([Explorer(line, slope=[1, 9], shift=[0])], tmp_path)


def lesson_with_a_slider():
    """A notebook with one slider, as Jupyter saves it."""
    data = {"text/plain": "A slider over slope", sliders.WIDGET: {"model_id": "1"}}
    return new_notebook(cells=[new_code_cell("Explorer()", outputs=[new_output("execute_result", data)])])


def test_a_page_shows_the_pictures_with_a_plain_range_input(line_drawn):
    notebook = sliders.with_sliders(lesson_with_a_slider(), line_drawn, "../drawn")
    shown = notebook.cells[0].outputs[0].data
    assert sliders.WIDGET not in shown
    assert ImgTags(shown["text/html"]).found == [('A line of slope "0" & shift 2.', "../drawn/0-0-1.png")]
    assert '<label>slope <input type="range" min="0" max="2" value="0"' in shown["text/html"]
    frames = json.loads(html.unescape(re.search(r'data-frames="([^"]*)"', shown["text/html"])[1]))
    assert frames == json.loads((line_drawn / "index.json").read_text())[0]["slope"]["frames"]


def test_a_page_without_the_pictures_shows_words(tmp_path):
    notebook = sliders.with_sliders(lesson_with_a_slider(), tmp_path / "none", "../drawn")
    assert notebook.cells[0].outputs[0].data == {"text/plain": "A slider over slope"}


def test_sliders_are_drawn_anew_if_their_lesson_or_what_draws_them_has_changed(tmp_path, monkeypatch):
    files = (
        "02.ipynb",
        "lora_lab/drawing/charts.py",
        "lora_lab/runs/data/facts.json",
        "lora_lab/pages/site.py",
    )
    lesson, charts, runs, site_file = (tmp_path / file for file in files)
    monkeypatch.setattr(sliders, "ROOT", tmp_path)
    for path in (lesson, charts, runs, site_file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("first")
    seen = {sliders.sources_hash(lesson)}
    for number, path in enumerate((lesson, charts, runs), 2):
        path.write_text("then")
        seen.add(sliders.sources_hash(lesson))
        assert len(seen) == number, path
    site_file.write_text("then")  # another page draws no slider
    assert sliders.sources_hash(lesson) in seen


# The site


def test_cells_that_jupyterlab_folds_are_folded_on_the_site():
    folded, open_cell = new_code_cell("a", metadata={"jupyter": {"source_hidden": True}}), new_code_cell("b")
    page = site.page_of_lesson(new_notebook(cells=[folded, open_cell]))
    assert [cell.metadata.get("tags") for cell in page.cells] == [["hide-input"], None]


def test_a_lesson_links_to_its_other_forms_and_its_outputs_to_pages():
    shown = new_output("display_data", {"text/markdown": "| [01](01_matrix_rank.ipynb) | [up](#The-map) |"})
    lesson = new_notebook(cells=[new_markdown_cell("# 02"), new_code_cell("a", outputs=[shown])])
    page = site.page_of_lesson(lesson, {"slides": "slides/02.html", "handout": "handouts/02.ipynb"})
    assert page.cells[0].source.endswith(
        'As <a href="../slides/02.html">slides</a> · <a href="../handouts/02.ipynb">handout</a>'
    )
    assert page.cells[1].outputs[0].data["text/markdown"] == "| [01](01_matrix_rank.html) | [up](#The-map) |"


def test_the_names_of_the_package_become_links():
    assert site.link_names("see `lora_lab.lora`") == "see {py:obj}`lora_lab.lora`"
    assert site.link_names("`from lora_lab.lora import x` or ``lora_lab.lora``, `lora_lab`") == (
        "`from lora_lab.lora import x` or ``lora_lab.lora``, `lora_lab`"
    )
    notebook = {
        "cells": [
            {"cell_type": "code", "source": ["import torch\n", "from lora_lab.lora import check_alpha"]}
        ]
    }
    assert list(site.imported_names(notebook)) == ["lora_lab.lora.check_alpha"]
    described = [
        "lora_lab.drawing.charts.chart",
        "lora_lab.drawing.flow_chart",
        "lora_lab.runs.chart",
        "lora_lab.lora.T",
    ]
    assert site.defined_as("lora_lab.drawing.chart", described) == described[:1]
    assert site.defined_as("lora_lab.lora.T", described) == described[-1:]
    code = '<span class="n">check_alpha</span><span class="p">(</span><span class="n">check</span>'
    linked = site.link_imported(code, {"lora_lab.lora.check_alpha": "lora.html#x"})
    assert linked == code.replace(
        '<span class="n">check_alpha</span>',
        '<a class="from-lora-lab" href="lora.html#x" title="lora_lab.lora.check_alpha">'
        '<span class="n">check_alpha</span></a>',
    )


def test_a_docstring_has_no_markup_but_names():
    assert site.plain_text("r * (m + n), s_1 of `fit_*`, |v|") == r"r \* (m + n), s\_1 of `fit_*`, \|v\|"


def test_every_module_has_its_place_on_a_page():
    rooms = site.rooms()
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "lora_lab").rglob("[!_]*.py")
    }
    described = [name for room, names in rooms.items() for name in re.findall(
        r"automodule:: (.+)", site.package_page(room, names))]  # fmt: skip
    assert modules <= set(described) and len(described) == len(set(described))
    assert not [name for name in described if "__" in name], "nobody imports these"


# Handouts


@each_lesson
def test_a_handout_has_neither_outputs_nor_solutions_and_all_else(path):
    lesson = read(path)
    handout = handouts.handout(lesson)
    nbformat.validate(handout)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in handout.cells)
    left = {cell.id for cell in handout.cells}
    assert [c.source for c in lesson.cells if c.id not in left] == [
        solution.source for *_, solution in exercises(lesson)
    ]
    assert contents(lesson) == contents(read(path)), "the lesson itself must not change"


def test_the_answer_book_asks_and_answers_every_exercise():
    course = [read(path) for path in PATHS]
    book = handouts.answer_book(course)
    nbformat.validate(book)
    texts = [cell.source for cell in book.cells]
    asked = [text.splitlines()[0] for text in texts if text.startswith("### ")]
    everything = "\n".join(cell.source for lesson in course for cell in lesson.cells)
    assert asked == re.findall(r"^### (?:Question|Exercise) [\d.]+ ·.*$", everything, re.M)
    answers = [text for text in texts if text.startswith("**Solution**")]
    codes = [solution_code(solution) for lesson in course for *_, solution in exercises(lesson)]
    assert len(answers) == len(codes) == len(asked) > 40
    assert all(
        code in answer and "<details" not in answer for code, answer in zip(codes, answers, strict=True)
    )


def test_the_answer_book_keeps_what_an_exercise_shows_before_its_stub():
    cells = [
        new_markdown_cell("## Exercises\n\n### Exercise 1\n\nLook."),
        new_code_cell("given = 1"),
        new_markdown_cell("What is it?"),
        new_code_cell("answer = ...", metadata={"tags": ["exercise"]}),
        new_code_cell("check(answer)", metadata={"tags": ["check"]}),
    ]
    asked = [cell.source for cell in handouts.question(cells)]
    assert asked == ["### Exercise 1\n\nLook.", "given = 1", "What is it?"]
    with pytest.raises(ValueError, match="no heading"):
        handouts.question(cells[1:])
    with pytest.raises(ValueError, match="must be <details>"):
        handouts.unfolded("It is 1.")


# Slides


def on_slides(*cells):
    """The slides of a lesson of these cells, each as the sources on it."""
    cells = slides.deck(new_notebook(cells=[new_markdown_cell("# 01 · A lesson"), *cells])).cells
    found = []
    for cell in cells:
        if "slideshow" in cell.metadata:
            found.append((cell.metadata.slideshow.slide_type, []))
        found[-1][1].append(cell.source)
    return found[1:]


def test_headings_start_slides():
    text = new_markdown_cell("## One\n\nA.\n\n```python\nx = 1\n\ny = 2\n```\n\n### Two\n\nB.")
    assert on_slides(text) == [
        ("slide", ["## One", "A.", "```python\nx = 1\n\ny = 2\n```"]),
        ("subslide", ["### Two", "B."]),
    ]


def test_a_heading_does_not_stand_alone():
    text = new_markdown_cell("## Exercises\n\n### Exercise 1\n\nA.")
    assert on_slides(text) == [("slide", ["## Exercises", "### Exercise 1", "A."])]
    assert on_slides(
        new_markdown_cell("## Exercises"), new_markdown_cell("### Exercise 1\n\nA.")
    ) == on_slides(text)


def test_a_question_stands_alone_until_it_is_answered():
    text = new_markdown_cell("## One\n\nA.\n\n> **Predict.** What comes?")
    assert on_slides(text, new_code_cell("print(1)")) == [
        ("slide", ["## One", "A.", "> **Predict.** What comes?"]),
        ("subslide", ["print(1)"]),
    ]


def test_a_thought_that_does_not_fit_goes_to_the_next_slide_as_a_whole():
    code = "\n".join(["x = 1"] * 16)
    one, two = new_markdown_cell("## One\n\nA."), new_markdown_cell("B.")
    found = on_slides(one, new_code_cell(code), two, new_code_cell(code))
    assert found == [("slide", ["## One", "A.", code]), ("subslide", ["B.", code])]


def test_code_is_folded_where_a_picture_or_nothing_is_the_point():
    picture = new_output("display_data", {"text/html": '<img alt="x" src="data:image/png;base64,">'})
    hidden = new_code_cell("a", metadata={"jupyter": {"source_hidden": True}})
    drawn, loud = new_code_cell("b", outputs=[picture]), new_code_cell("c = 1")
    imports, ours = new_code_cell("import os\nd = 1"), new_code_cell("from lora_lab.lora import LoRALayer")
    folded = [
        ["folded" in piece.metadata.tags for piece in slides.pieces(cell)]
        for cell in (hidden, drawn, loud, imports, ours)
    ]
    assert folded == [[True], [True], [False], [True], [False]]


def test_links_of_a_deck_lead_to_decks():
    text = "[next](02_svd.ipynb#Shapes) ![x](../images/figure_lora.png) [web](https://x.org/a.ipynb)"
    linked = "[next](02_svd.html#Shapes) ![x](images/figure_lora.png) [web](https://x.org/a.ipynb)"
    assert slides.links_of_decks(text) == linked


@each_lesson
def test_a_deck_loses_nothing_and_no_slide_is_too_full(path):
    """Each word, line of code and output is on a slide, but for checks; only a single piece may fill one."""
    lesson = read(path)
    cells = slides.deck(lesson).cells
    shown = "".join("".join(cell.source.split()) for cell in cells)
    for cell in lesson.cells:
        text = (
            handouts.unfolded(cell.source)
            if lessons.has_tag(cell, "solution")
            else slides.links_of_decks(cell.source)
        )
        assert lessons.has_tag(cell, "check") or "".join(text.split()) in shown
    shows = [c for c in lesson.cells if c.cell_type == "code" and not lessons.has_tag(c, "check")]
    assert [o for c in cells for o in c.get("outputs", [])] == [o for c in shows for o in c.outputs]
    heights_of_slides, pieces_of_slides = [], []
    for cell in cells:
        if "slideshow" in cell.metadata:
            heights_of_slides.append(0)
            pieces_of_slides.append(0)
        heights_of_slides[-1] += heights.height(cell)
        pieces_of_slides[-1] += 1
    assert len(heights_of_slides) > 12
    for high, count in zip(heights_of_slides, pieces_of_slides, strict=True):
        assert high <= heights.SLIDE or count == 1
    assert max(heights_of_slides) <= heights.SLIDE, "a single piece is higher than a slide"


def test_heights_grow_with_what_is_there():
    assert heights.block_height("a" * 88) + heights.LINE == heights.block_height("a" * 89)
    assert heights.block_height("[a](" + "b" * 200 + ")") == heights.block_height("a")
    assert heights.block_height("$$a$$") < heights.block_height(r"$$\frac{a}{b}$$")
    assert heights.height(new_code_cell("a\nb")) - heights.height(new_code_cell("a")) == heights.CODE_LINE
    assert (
        heights.picture_height((2400, 1000)) == 500 and heights.picture_height((100, 9999)) == heights.PICTURE
    )


def test_the_height_of_a_text_that_a_cell_shows_is_that_of_its_parts():
    text, table = "a" * 200, "| a |\n|---|\n| b |"
    shown = new_output(
        "display_data", {"text/plain": "<a text>", "text/markdown": f"# A\n\n{text}\n\n{table}"}
    )
    parts = heights.block_height(text) + heights.block_height(table)
    assert heights.output_height(shown) == pytest.approx(8 + 42 + heights.SHOWN * parts)
