"""A reader runs a cell again, or all of them: a finished lesson prints the same once more, cell by cell, in
the kernel in which it has run.
"""

import copy

import pytest
from nbclient import NotebookClient
from notebook_rules import NOTEBOOKS, output_texts, read, streams_joined

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def texts(cell):
    """What a cell prints and draws, without pictures."""
    return [output_texts(output) for output in streams_joined(cell.outputs)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_of_a_finished_lesson_can_be_run_again(path):
    lesson = read(path)
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    lesson.cells = [*code, *(copy.deepcopy(cell) for cell in code)]
    for number, cell in enumerate(lesson.cells):
        cell.id = str(number)
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(lesson, timeout=150, resources=where).execute()
    pairs = zip(lesson.cells[: len(code)], lesson.cells[len(code) :], strict=True)
    other = [
        f"{one.source[:60]!r}: {texts(one)} -> {texts(two)}" for one, two in pairs if texts(one) != texts(two)
    ]
    assert not other, "\n".join(other)
