"""A lesson takes the minutes that its header says, at most half an hour before its exercises, and at most
fifty minutes with them. Whether it runs in the seconds of its header is asked in conftest.py.
"""

import re

import minutes
import pytest
from notebook_rules import NOTEBOOKS, ROOT, read

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
READING, IN_ALL = 30, 50

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@each_notebook
def test_its_header_says_how_long_it_takes(path):
    assert minutes.problems(read(path)) == []


@each_notebook
def test_it_is_read_in_half_an_hour_and_solved_within_a_class_period(path):
    counted = minutes.counted(read(path))
    assert round(counted.reading) <= READING, f"{counted.reading:.0f} minutes are too long"
    assert round(counted.reading) + counted.exercises <= IN_ALL, f"{counted} is too long for one class period"


@each_notebook
def test_the_readme_says_the_same(path):
    row = re.search(minutes.ROW.format(name=path.name), (ROOT / "README.md").read_text("utf-8"), re.M)
    said = minutes.said(read(path)).in_table()
    assert row[0].endswith(f"| {said} |"), f"the minutes must be {said}: `make minutes` writes them"
