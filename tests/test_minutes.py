"""A lesson takes the minutes that its header says, and at most half an hour before its exercises. Whether it
runs in the seconds of its header is asked in conftest.py.
"""

import re

import minutes
import pytest
from notebook_rules import NOTEBOOKS, ROOT, read

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
LIMIT = 30
# The lessons that are still longer. This list only shrinks.
TOO_LONG = {
    "10_fine_tuning",
    "12_choosing_lora",
}

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@each_notebook
def test_its_header_says_how_long_it_takes(path):
    assert minutes.problems(read(path)) == []


@each_notebook
def test_it_is_read_in_half_an_hour(path):
    reading = minutes.counted(read(path)).reading
    if path.stem in TOO_LONG:
        assert round(reading) > LIMIT, f"take {path.stem} out of TOO_LONG: it is short enough now"
    else:
        assert round(reading) <= LIMIT, f"{reading:.0f} minutes are too long for one class period"


def test_the_lessons_that_are_too_long_exist():
    assert {path.stem for path in PATHS} >= TOO_LONG


@each_notebook
def test_the_readme_says_the_same(path):
    row = re.search(minutes.ROW.format(name=path.name), (ROOT / "README.md").read_text("utf-8"), re.M)
    said = minutes.said(read(path)).in_table()
    assert row[0].endswith(f"| {said} |"), f"the minutes must be {said}: `make minutes` writes them"
