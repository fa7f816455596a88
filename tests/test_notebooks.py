"""Every notebook keeps the rules and can be solved. That it runs again to what it was saved with, texts and
figures, is tested cell by cell: see addopts in pyproject.toml and conftest.py.
"""

import ast
import contextlib
import importlib
import itertools
import json
import linecache
import random
import re

import numpy as np
import pytest
import torch
from IPython.display import display
from notebook_rules import (
    NOTEBOOKS,
    ROOT,
    cells,
    contents,
    definitions,
    exercise_problems,
    exercises,
    read,
    solution_code,
    static_problems,
    tags,
)
from planted_mistakes import PLANTED

from lora_lab import training
from lora_lab.checks import Verdict
from lora_lab.drawing import Explorer

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
    used = [calls(cell) & checkers for cell in read(path).cells if "check" in tags(cell)]
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


@each_notebook
def test_its_solutions_are_correct_and_its_planted_mistakes_are_not(path, monkeypatch):
    """The notebook runs from top to bottom for a reader who solves everything after some attempts that fail
    and moves its sliders from end to end. No exercise rests on what was trained, but the capstone's: a
    training is one step, and the lesson's own asserts, which other tests run, are left out.
    """
    if path.stem != "15_capstone":
        monkeypatch.setattr(training, "fit", one_step)
    notebook = read(path)
    below = {id(stub): (check, solution) for stub, check, solution in exercises(notebook)}
    namespace, problems, explorers = {"__name__": "__main__", "display": display}, [], []
    with contextlib.chdir(path.parent):
        for place, cell in cells(notebook, "code"):
            if id(cell) in below:
                check, solution = below[id(cell)]
                with same_dice():
                    problems += unexpected_verdicts(check, namespace, checkers_of(path))
                run(solution_code(solution), namespace, f"the solution of {place}")
                continue
            value = run(cell.source, namespace, place, asserts=False)
            if "check" in tags(cell):
                states = [verdict.state for verdict in verdicts(value)]
                if set(states) != {"correct"} or len(states) < len(calls(cell) & checkers_of(path)):
                    problems.append(f"{place} says to the solution: {value!r}")
            if isinstance(value, Explorer):
                with same_dice():
                    problems += value.faults(most=3)
                explorers.append((value, pictures_of(value)))
        # A reader comes back to a slider after Run All, when its names may mean something else.
        for explorer, shown in explorers:
            if pictures_of(explorer) != shown:
                problems.append(f"at the end {explorer!r} shows other pictures than where it stands")
    assert not problems, report(path, problems)


def pictures_of(explorer):
    """What the reader sees on a short walk of its sliders; they end where they were."""
    start = [slider.index for slider in explorer.sliders.values()]
    seen = []
    for places in (*dict.fromkeys(explorer.walk(2)), start):
        for slider, place in zip(explorer.sliders.values(), places, strict=True):
            slider.index = place
        seen.append(explorer.picture.value)
    return seen


def unexpected_verdicts(check, namespace, checkers):
    """What a check says to planted mistakes where it does not say what it should."""
    for name in calls(check) & checkers:
        for code, words in PLANTED.get(name, ()):
            attempt = dict(namespace)
            try:
                run(code, attempt, "a planted mistake")
                found = run(check.source, attempt, "its check")
            except Exception as error:
                found = error
            if not any(verdict.state == "hint" and words in verdict.text for verdict in verdicts(found)):
                yield f"{name} should say {words!r} but says {found!r} to this mistake:\n{code}"


# How a notebook's code is run here: in this process, which saves a kernel for each notebook


def one_step(model, ids, labels, steps, *arguments, fit=training.fit, **settings):
    """`fit` with a single step, and a history of the length that all steps would have."""
    entries = steps // settings.get("every", 25) if "held_out" in settings else 1
    return entries * fit(model, ids, labels, 1, *arguments, **settings)


def run(source, namespace, name, asserts=True):
    """Run a cell's code, and give the value of its last line if that is an expression."""
    linecache.cache[name] = (
        len(source),
        None,
        source.splitlines(True),
        name,
    )  # tracebacks show the cell's lines
    body = ast.parse(source).body
    last = [body.pop().value] if body and isinstance(body[-1], ast.Expr) else []
    exec(compile(ast.Module(body, []), name, "exec", optimize=0 if asserts else 1), namespace)
    return eval(compile(ast.Expression(*last), name, "eval"), namespace) if last else None


def verdicts(value):
    """The verdicts in what a check cell ends with: one, or a tuple of several."""
    return [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Verdict)]


@contextlib.contextmanager
def same_dice():
    """What runs inside does not change the random numbers that come after it."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def checkers_of(path):
    """The names of the checkers of a notebook's lesson: the functions marked @checker."""
    module = ROOT / "lora_lab" / "checks" / f"lesson_{path.stem[:2]}.py"
    tree = ast.parse(module.read_text(encoding="utf-8") if module.exists() else "")
    return {
        node.name
        for node in definitions(tree)
        if "checker" in [ast.unparse(decorator) for decorator in node.decorator_list]
    }


def calls(cell):
    """The names of all functions that a cell calls."""
    nodes = [node.func for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return {node.attr if isinstance(node, ast.Attribute) else ast.unparse(node) for node in nodes}


def report(path, problems):
    """The problems of a notebook, one on a line."""
    return "\n".join([f"{path.name}:", *problems])
