"""What all pages are made from: the lessons as they are saved, none of which is changed."""

import sys
from pathlib import Path

import nbformat

import lora_lab

ROOT = Path(lora_lab.__file__).parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def lesson_paths(numbers=()):
    """The notebooks of the lessons `numbers` ("02", "07"), or of all if there are none. SystemExit with
    a sentence if there is no such lesson.
    """
    paths = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    unknown = [number for number in numbers if number not in paths]
    if unknown:
        sys.exit(f"there is no lesson {', '.join(unknown)}: the lessons are {', '.join(paths)}")
    return [paths[number] for number in numbers or paths]


def read_lesson(path):
    """The notebook at `path`."""
    return nbformat.read(path, as_version=4)


def has_tag(cell, tag):
    """Whether a cell has the tag `tag`: "exercise", "check" or "solution"."""
    return tag in cell["metadata"].get("tags", [])


def is_folded(cell):
    """Whether JupyterLab hides the source of a cell until the reader asks for it."""
    return bool(cell["metadata"].get("jupyter", {}).get("source_hidden"))


def has_slider(cell):
    """Whether a cell shows a slider."""
    return any(WIDGET in output.get("data", {}) for output in cell.get("outputs", []))
