"""Every notebook keeps the rules. That it runs again to what it was saved with, texts and figures, that its
sliders move, and that its checkers know right from wrong is tested cell by cell: see addopts in
pyproject.toml and conftest.py.
"""

import importlib
import itertools
import json
import re

import pytest
from attempts import calls, checkers_of
from notebook_rules import NOTEBOOKS, ROOT, contents, exercise_problems, read, static_problems, tags
from planted_mistakes import PLANTED

CONFTESTS = ("conftest.py", "notebooks/conftest.py", "tests/conftest.py")
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

# What each notebook shows, so that a figure, a slider or an exercise cannot get lost unnoticed. Whoever adds
# or removes one on purpose changes its line here.
MANIFEST = {
    "00_start_here": {"figures": 0, "sliders": 0, "exercises": 7},
    "01_matrix_rank": {"figures": 4, "sliders": 1, "exercises": 4},
    "02_svd": {"figures": 5, "sliders": 2, "exercises": 3},
    "03_image_compression": {"figures": 9, "sliders": 1, "exercises": 3},
    "04_why_peft": {"figures": 1, "sliders": 1, "exercises": 3},
    "05_lora_from_scratch": {"figures": 3, "sliders": 1, "exercises": 3},
    "06_scaling_and_merging": {"figures": 2, "sliders": 1, "exercises": 3},
    "07_inside_gpt2": {"figures": 2, "sliders": 2, "exercises": 3},
    "08_attention_with_lora": {"figures": 2, "sliders": 1, "exercises": 3},
    "09_gpt2_parameter_counting": {"figures": 3, "sliders": 2, "exercises": 3},
    "10_fine_tuning": {"figures": 3, "sliders": 1, "exercises": 3},
    "11_why_low_rank_works": {"figures": 2, "sliders": 1, "exercises": 3},
    "12_choosing_lora": {"figures": 2, "sliders": 1, "exercises": 3},
    "13_four_bits": {"figures": 5, "sliders": 1, "exercises": 3},
    "14_qlora": {"figures": 2, "sliders": 1, "exercises": 3},
    "15_capstone": {"figures": 1, "sliders": 0, "exercises": 3},
}


# The whole course


def test_the_notebooks_are_those_of_the_manifest():
    """A notebook without a line in MANIFEST is not guarded, and a line without a notebook lost its lesson."""
    names = [path.stem for path in PATHS]
    assert names == sorted(MANIFEST), "change MANIFEST in tests/test_notebooks.py if this is meant"


def test_no_notebook_is_left_out_of_the_comparison_of_outputs():
    """nbval collects all of notebooks/, and nothing there hides in a folder or has no number."""
    found = [path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert sorted(found) == PATHS
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in PATHS)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'testpaths = ["notebooks", "tests"]' in settings and "--nbval " in settings
    hooks = [path.read_text(encoding="utf-8") for pattern in CONFTESTS for path in ROOT.glob(pattern)]
    for text in (settings, *hooks):
        assert not re.search(r"collect_ignore|--ignore|--deselect|nbval-lax|norecursedirs", text)


# Each notebook as it was saved


@each_notebook
def test_it_keeps_the_rules(path):
    """What can be seen without running it: see notebook_rules."""
    notebook = read(path)
    problems = static_problems(notebook) + exercise_problems(notebook)
    assert not problems, report(path, problems)


@each_notebook
def test_it_shows_what_the_manifest_says(path):
    """No figure, slider or exercise got lost."""
    here = contents(read(path))
    line = f'"{path.stem}": {json.dumps(here)},'
    assert MANIFEST.get(path.stem) == here, f"if this is meant, write into MANIFEST of this file: {line}"


@each_notebook
def test_it_links_to_the_lessons_before_and_after_it(path):
    """In its first cell."""
    links = re.findall(r"\]\((\d\d_\w+\.ipynb)\)", read(path).cells[0].source)
    place = PATHS.index(path)
    assert {other.name for other in PATHS[max(place - 1, 0) : place + 2]} <= {path.name, *links}


# Exercises


@each_notebook
def test_every_checker_has_its_exercise_and_two_planted_mistakes(path):
    """And every check cell has its checker; none takes an empty answer for an attempt."""
    checkers = checkers_of(path)
    used = [calls(cell.source) & checkers for cell in read(path).cells if "check" in tags(cell)]
    assert all(used), "each check cell calls a checker of its own lesson"
    assert sorted(itertools.chain(*used)) == sorted(checkers), "each checker belongs to one check cell"
    unguarded = sorted(name for name in checkers if len(PLANTED.get(name, ())) < 2)
    assert not unguarded, f"tests/planted_mistakes.py must hold two mistakes for each of {unguarded}"
    for name in checkers:
        module = importlib.import_module(f"lora_lab.checks.lesson_{path.stem[:2]}")
        assert getattr(module, name)(...).state == "not attempted"


def test_every_planted_mistake_has_its_checker():
    """A checker that was renamed would leave its mistakes behind, untested."""
    checkers = [name for path in PATHS for name in checkers_of(path)]
    assert set(PLANTED) <= set(checkers)
    assert len(checkers) == len(set(checkers)), "two checkers of one name"


def report(path, problems):
    """The problems of a notebook, one on a line."""
    return "\n".join([f"{path.name}:", *problems])
