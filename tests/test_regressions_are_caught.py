"""Tests of the tests: each regression planted in the saved copy of a sound notebook is reported."""

import base64
import inspect
import io
import os
import re
import subprocess
import sys

import minutes
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import (
    NOTEBOOKS,
    ROOT,
    cells,
    contents,
    exercise_problems,
    output_differences,
    read,
    run_again,
    static_problems,
)
from PIL import Image
from test_same_name_same_code import code_differences

from lora_lab.drawing import Picture, chart, curve
from lora_lab.low_rank import break_even_rank

DRAW = """
figure, axes = chart("It rises", "x", "its square")
curve(axes, [1, 2, 3], [1, 4, 9])
show(figure, "A parabola.")
"""
SOLUTION = (
    "<details><summary>Solution</summary>\n\n```python\ndef double(x):\n    return 2 * x\n```\n\n</details>"
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small lesson that keeps all rules, as it is saved after a run."""
    cells = [
        new_markdown_cell("# 01 · A lesson\n\nIt ends [with an exercise](#An-exercise)."),
        new_code_cell("from lora_lab.drawing import Explorer, chart, curve, show"),
        new_markdown_cell("A number:"),
        new_code_cell("print(6 * 7)"),
        new_markdown_cell("A picture:"),
        new_code_cell(DRAW.strip()),
        new_markdown_cell("A function of the package:"),
        new_code_cell(inspect.getsource(break_even_rank)),
        new_markdown_cell("A slider:"),
        new_code_cell("Explorer(lambda r: (chart(1 / r)[0], 'A title.'), r=[1, 2])"),
        new_markdown_cell("## An exercise\n\nDouble a number."),
        new_code_cell("def double(x):\n    return ...", metadata={"tags": ["exercise"]}),
        new_code_cell("print('Not attempted yet.')", metadata={"tags": ["check"]}),
        new_markdown_cell(SOLUTION, metadata={"tags": ["solution"]}),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return run_again(notebook, tmp_path_factory.mktemp("lesson"))


@pytest.fixture(scope="module")
def fresh(sound, tmp_path_factory):
    """The same lesson, run once more."""
    return run_again(sound, tmp_path_factory.mktemp("lesson"))


def problems(saved, fresh, folder):
    """Everything the rules say about a saved notebook and its fresh run."""
    return [
        *static_problems(saved, folder),
        *exercise_problems(saved),
        *output_differences(saved, fresh),
        *code_differences(saved),
    ]


def cell_with(notebook, text):
    """The first cell whose source contains `text`."""
    return next(cell for cell in notebook.cells if text in cell.source)


def save(**fields):
    """A regression: the cell is saved with these fields."""
    return lambda cell: cell.update(fields)


def write(text):
    """A regression: the source ends with `text`."""
    return lambda cell: cell.update(source=cell.source + text)


def replace(old, new):
    """A regression: the source has `new` in the place of `old`."""
    return lambda cell: cell.update(source=cell.source.replace(old, new))


def say(text, name="stdout"):
    """A regression: the saved output is `text`."""
    return save(outputs=[new_output("stream", name=name, text=text)])


def draw(title="It rises", y=(1, 4, 9)):
    """A regression: the cell was saved after it had drawn this."""

    def plant(cell):
        figure, axes = chart(title, "x", "its square")
        curve(axes, [1, 2, 3], y)
        data, metadata = Picture(figure, "A parabola.")._repr_mimebundle_()
        cell.outputs = [new_output("display_data", data, metadata=metadata)]

    return plant


def forget(cell):
    """A regression: the figure was saved without what it says."""
    cell.outputs[0].metadata = {}


def edit_html(old, new):
    """A regression: the saved figure's HTML has `new` in the place of what matches `old`."""

    def plant(cell):
        data = cell.outputs[0].data
        data["text/html"] = re.sub(old, new, data["text/html"])

    return plant


def add_png(cell):
    """A regression: the figure is shown without lora_lab.drawing.show."""
    cell.outputs[0].data["image/png"] = "iVBORw0KGgo="


def white():
    """A PNG file with nothing in it, as it stands in HTML."""
    buffer = io.BytesIO()
    Image.new("RGB", (980, 504), "white").save(buffer, "png")
    return "base64," + base64.b64encode(buffer.getvalue()).decode()


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
NUMBER, FIGURE, TITLE, COPY = "6 * 7", "curve(axes", "# 01", "break_even_rank"
# What is planted, in which cell, how, and what the report must say.
REGRESSIONS = [
    ("blank figure", FIGURE, edit_html('base64,[^"]+', white()), "blank picture"),
    ("moved curve", FIGURE, draw(y=(1, 5, 9)), "other numbers"),
    ("curve a tenth too high", FIGURE, draw(y=(1.1, 4.4, 9.9)), "other numbers"),
    ("lost point", FIGURE, draw(y=(1, float("nan"), 9)), "other numbers"),
    ("another title", FIGURE, draw(title="Something else"), "says something else"),
    ("figure without its meaning", FIGURE, forget, "without what its figure says"),
    ("changed number", NUMBER, say("41\n"), "another text"),
    ("stripped outputs", NUMBER, save(outputs=[]), "without its outputs"),
    ("stripped count, too", NUMBER, save(outputs=[], execution_count=None), "execution counts"),
    ("shuffled counts", NUMBER, save(execution_count=3), "execution counts"),
    ("tag to ignore", NUMBER, save(metadata={"tags": ["nbval-ignore-output"]}), "skipped"),
    ("comment to ignore", NUMBER, write("  # NBVAL_IGNORE_OUTPUT"), "skipped"),
    ("stored error", NUMBER, save(outputs=[ERROR]), "saved error"),
    ("stored warning", NUMBER, say("A warning", "stderr"), "saved stderr"),
    ("path of one machine", NUMBER, say("/home/ada/photo.png\n"), "path of one machine"),
    ("progress bar", NUMBER, say("50%|#####     |"), "progress bar"),
    ("bare figure", FIGURE, add_png, "bare image/png"),
    ("figure without alt", FIGURE, edit_html("A parabola.", ""), "without alt text"),
    ("remote figure", FIGURE, edit_html('data:[^"]+', "//example.org/a.png"), "from the web"),
    ("image without alt", TITLE, write("\n\n![](picture.png)"), "without alt text"),
    ("remote image", TITLE, write("\n\n![A cat](https://example.org/cat.png)"), "from the web"),
    ("missing image", TITLE, write("\n\n![A cat](../images/no_cat.png)"), "not a file of the course"),
    ("dead link", TITLE, write("\n\n[Next](02_next.ipynb)"), "file that does not exist"),
    ("dead anchor", TITLE, write("\n\n[Below](#An-Exercise)"), "heading that does not exist"),
    ("drifted copy", COPY, replace("return ", "return 2 * "), "otherwise than lora_lab/low_rank.py"),
    ("name defined twice", NUMBER, write("\n\ndef double(x):\n    return x + x"), "double again"),
    ("star import", "import", write("\nfrom math import *"), "star import"),
    ("unfolded solution", "<details>", replace("</summary>\n\n", "</summary>\n"), "not folded"),
    ("solved exercise", "Not attempted", say("Correct.\n"), "must say 'Not attempted yet.'"),
]


def test_a_sound_notebook_has_no_problem(sound, fresh, tmp_path):
    """Without this, rules that refuse everything would pass the tests below."""
    assert problems(sound, fresh, tmp_path) == []
    assert contents(sound) == {"figures": 1, "sliders": 1, "exercises": 1}


@pytest.mark.parametrize("name, place, plant, report", REGRESSIONS, ids=[name for name, *_ in REGRESSIONS])
def test_a_regression_is_reported(name, place, plant, report, sound, fresh, tmp_path):
    """By the rule that is there for it."""
    saved = nbformat.from_dict(sound)
    plant(cell_with(saved, place))
    found = problems(saved, fresh, tmp_path)
    assert any(report in problem for problem in found), found


def test_a_deleted_cell_is_reported(sound, tmp_path):
    """By the gap in the execution counts; after another run, only by the manifest."""
    saved = nbformat.from_dict(sound)
    saved.cells.remove(cell_with(saved, FIGURE))
    assert "execution counts" in static_problems(saved, tmp_path)[0]
    assert contents(saved)["figures"] == 0


@pytest.fixture(scope="module")
def said(sound, tmp_path_factory):
    """What `make test`, with the hook in conftest.py, says of three lessons: a sound one; one with a curve
    that moved, a slider that can be drawn at both ends and not between, and a solution that is refused;
    and one that takes more than twice its seconds.
    """
    faulty, slow = nbformat.from_dict(sound), nbformat.from_dict(sound)
    draw(y=(1, 5, 9))(cell_with(faulty, FIGURE))
    replace("[1, 2]", "[1, 2, 0, 3]")(cell_with(faulty, "Explorer(lambda"))
    cell_with(faulty, "def double(x)").source = "length = ..."
    check = cell_with(faulty, "Not attempted")
    check.source = "from lora_lab.checks.lesson_00 import check_norm\n\ncheck_norm(length)"
    check.outputs = [new_output("execute_result", {"text/plain": "Not attempted yet."})]
    replace(re.search("def.*2 \\* x", SOLUTION, re.S)[0], "length = 7")(cell_with(faulty, "<details>"))
    slow.cells[0].source = "# A lesson"
    slow.cells[1:] = [new_markdown_cell("**Time:** 1 minutes to read, 1 seconds to run.")]
    work = "import time\nwhile time.process_time() < {}:\n    pass"
    slow.cells += [new_code_cell(work.format(seconds)) for seconds in (1, 5)]
    folder = tmp_path_factory.mktemp("lessons")
    for name, notebook in {"01_sound": sound, "00_faulty": faulty, "02_slow": slow}.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    settings = ["-c", ROOT / "pyproject.toml", "-p", "conftest", "-n", "0"]
    command = [sys.executable, "-m", "pytest", *settings, folder]
    twice = {**os.environ, "LORA_LAB_PATIENCE": "2"}
    return subprocess.run(command, cwd=ROOT, env=twice, capture_output=True, text=True).stdout


def test_the_cells_that_nbval_runs_are_compared_moved_and_asked(said):
    assert "has a figure with other numbers" in said
    assert "has a slider that cannot draw r = 0: ZeroDivisionError: division by zero" in said, said
    assert "the check says to the solution: Not yet" in said, said


def test_a_lesson_that_takes_more_than_twice_its_seconds_is_reported(said):
    assert "2 times what its header says" in said, said


def test_no_other_cell_is_reported(said):
    """So the sound lesson has none, and the slow one's first cell is in time."""
    assert "4 failed" in said and "FAILED 01_sound" not in said and said.count("FAILED 02_slow") == 1, said


# In the text of a lesson


def test_a_wrong_number_in_prose_is_reported():
    """Two digits of it are exchanged; every output and every assert is as it was."""
    lesson = read(NOTEBOOKS / "01_matrix_rank.ipynb")
    assert static_problems(lesson) == []
    cell = next(cell for _, cell in cells(lesson, "markdown") if "2,560,000" in cell.source)
    replace("2,560,000", "2,650,000")(cell)
    (problem,) = static_problems(lesson)
    assert "says 2,650,000" in problem


@pytest.mark.parametrize("wrong", ["a number", "a percentage"])
def test_a_number_that_only_prose_has_is_reported(wrong, sound, tmp_path):
    """Also a percentage whose digits stand in the lesson as a plain number."""
    saved = nbformat.from_dict(sound)
    write(" It is 4,200." if wrong == "a number" else " It is 42 %.")(cell_with(saved, "A number:"))
    assert any("no cell computes" in problem for problem in static_problems(saved, tmp_path))


@pytest.mark.parametrize(
    "old, new", [(r"\d+ minutes", "99 minutes"), (r"\d+ for", "99 for"), ("10 s", "15 s")]
)
def test_a_header_with_wrong_minutes_or_seconds_is_reported(old, new):
    """And the report says what to write."""
    lesson = read(NOTEBOOKS / "02_svd.ipynb")
    right = str(minutes.said(lesson))
    lesson.cells[1].source = re.sub(rf"(?<=\*\*Time:\*\* )(.*?){old}", rf"\g<1>{new}", lesson.cells[1].source)
    assert minutes.said(lesson) != minutes.said(read(NOTEBOOKS / "02_svd.ipynb"))
    (problem,) = minutes.problems(lesson)
    assert right in problem or "must be one of" in problem


def test_a_lesson_that_grows_is_counted_and_what_is_folded_is_not():
    """Twelve lines more are a minute more, unless the cell is folded or stands below the exercises."""
    lesson = read(NOTEBOOKS / "02_svd.ipynb")
    before = minutes.counted(lesson).reading
    long = new_code_cell("\n".join(f"x{n} = {n}" for n in range(24)))
    lesson.cells.append(long)
    folded = new_code_cell(long.source, metadata={"jupyter": {"source_hidden": True}})
    lesson.cells.insert(2, folded)
    lesson.cells.insert(3, new_markdown_cell("<details>\n\n" + "word " * 360 + "\n\n</details>"))
    assert minutes.counted(lesson).reading == before
    lesson.cells.insert(2, long)
    assert minutes.counted(lesson).reading == pytest.approx(before + 2)
    lesson.cells.insert(2, new_markdown_cell("word " * 360))
    assert minutes.counted(lesson).reading == pytest.approx(before + 4)


def test_a_lesson_that_trains_with_spinning_threads_is_reported():
    """The saved outputs are the same either way; only who runs other programs would notice."""
    lesson = read(NOTEBOOKS / "05_lora_from_scratch.ipynb")
    assert static_problems(lesson) == []
    cell = next(cell for _, cell in cells(lesson, "code") if "OMP_WAIT_POLICY" in cell.source)
    cell.source = "import os"
    (problem,) = static_problems(lesson)
    assert "OMP_WAIT_POLICY" in problem
