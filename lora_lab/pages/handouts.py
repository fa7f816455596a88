"""Handouts for a class: each lesson without outputs and solutions, and one answer book with all solutions.

`python -m lora_lab.pages.handouts` writes them into build/handouts; with `02 07` behind it, of two lessons.
"""

import copy
import re
import shutil
import sys

import nbformat

from lora_lab.pages.lessons import ROOT, has_tag, lesson_paths, read_lesson

HANDOUTS = ROOT / "build" / "handouts"


def handout(lesson):
    """A copy of a notebook without its outputs and without its solutions."""
    lesson = copy.deepcopy(lesson)
    lesson.cells = [cell for cell in lesson.cells if not has_tag(cell, "solution")]
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return lesson


def answer_book(lessons):
    """One notebook with the exercises of all `lessons` and their solutions, unfolded and in order."""
    cells = [nbformat.v4.new_markdown_cell("# Answers\n\nEvery exercise of the course, and its solution.")]
    for lesson in lessons:
        cells.append(nbformat.v4.new_markdown_cell(f"#{lesson.cells[0].source.splitlines()[0]}"))
        for number, cell in enumerate(lesson.cells):
            if has_tag(cell, "solution"):
                cells += question(lesson.cells[:number])
                cells.append(nbformat.v4.new_markdown_cell(f"**Solution**\n\n{unfolded(cell.source)}"))
    return nbformat.v4.new_notebook(cells=cells, metadata=copy.deepcopy(lessons[0].metadata))


def question(cells):
    """Copies of the last of `cells` from the heading of an exercise on, without the stub that the solution
    replaces and its check. ValueError if no heading is there.
    """
    asked = []
    for cell in reversed(cells):
        heading = re.search(r"^### ", cell.source, re.M) if cell.cell_type == "markdown" else None
        if heading:
            return [nbformat.v4.new_markdown_cell(cell.source[heading.start() :]), *asked]
        if cell.cell_type == "markdown":
            asked.insert(0, nbformat.v4.new_markdown_cell(cell.source))
        elif not has_tag(cell, "exercise") and not has_tag(cell, "check"):
            asked.insert(0, nbformat.v4.new_code_cell(cell.source))
    raise ValueError("a solution stands in no exercise: no heading '### ...' is above it")


def unfolded(solution):
    """What is inside the <details> of a solution. ValueError if it has another form."""
    inside = re.fullmatch(r"<details>\s*<summary>.+?</summary>\s*(.+?)\s*</details>\s*", solution, re.S)
    if not inside:
        raise ValueError(f"a solution must be <details><summary>...</summary>...</details>, got {solution!r}")
    return inside[1]


def write_handouts(paths, folder=HANDOUTS):
    """Write the handouts of the lessons at `paths`, their pictures and the answer book into `folder`; its
    links, with all lessons, work there as they do here.
    """
    lessons = [read_lesson(path) for path in paths]
    for name in ("notebooks", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for picture in (ROOT / "images").glob("figure_*.png"):
        shutil.copy(picture, folder / "images")
    for path, lesson in zip(paths, lessons, strict=True):
        nbformat.write(handout(lesson), folder / "notebooks" / path.name)
    nbformat.write(answer_book(lessons), folder / "answers.ipynb")
    return folder


if __name__ == "__main__":
    print(f"{write_handouts(lesson_paths(sys.argv[1:]))}: the handouts, and answers.ipynb")
