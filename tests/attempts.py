"""What the checkers of a lesson say to wrong answers, other right ones, and its solutions. A kernel that runs
the lesson is asked for it at each check cell (see conftest.py), so no lesson runs again for its exercises.
"""

import ast
import contextlib
import io
import linecache
import random
import sys

import numpy as np
import torch
from notebook_rules import ROOT, definitions, exercises, read, solution_code
from planted_mistakes import ALSO_RIGHT, PLANTED

from lora_lab import training
from lora_lab.checks import Verdict

# Those that judge what was trained, for minutes: tests/long_solutions.py asks them.
LONG = {"check_adapter"}
SOLVED = {}  # what the solutions so far have defined


def faults(path, check, namespace):
    """What is wrong with the answers of the checkers in the cell `check` of the notebook at `path`, in a
    `namespace` that has come so far. Nothing in there changes, and the dice fall as before.
    """
    checkers = calls(check) & checkers_of(path)
    if checkers & LONG or not checkers:
        return []
    solution = next(solution for _, cell, solution in exercises(read(path)) if cell.source == check)
    pyplot, fit = sys.modules.get("matplotlib.pyplot"), training.fit
    training.fit = one_step
    try:
        with same_dice(), contextlib.redirect_stdout(io.StringIO()):
            attempt = {**namespace, **SOLVED}
            found = list(unexpected_verdicts(check, attempt, checkers))
            before = dict(attempt)
            run(solution_code(solution), attempt, "the solution")
            SOLVED.update({name: value for name, value in attempt.items() if before.get(name) is not value})
            found += solution_faults(run(check, attempt, "its check"), len(checkers))
    finally:
        training.fit = fit
        if pyplot:
            pyplot.close("all")
    return found


def solution_faults(value, checkers):
    """What is wrong with the value of a check cell below a solution."""
    states = [verdict.state for verdict in verdicts(value)]
    right = set(states) == {"correct"} and len(states) >= checkers
    return [] if right else [f"the check says to the solution: {value!r}"]


def unexpected_verdicts(check, namespace, checkers):
    """What a check says to other right answers and planted mistakes where it is not what it should say."""
    for name in checkers:
        for code in ALSO_RIGHT.get(name, ()):
            attempt = dict(namespace)
            run(code, attempt, "another answer")
            found = run(check, attempt, "its check")
            if {verdict.state for verdict in verdicts(found)} - {"not attempted"} != {"correct"}:
                yield f"{name} says {found!r} to this right answer:\n{code}"
        for code, words in PLANTED.get(name, ()):
            attempt = dict(namespace)
            try:
                run(code, attempt, "a planted mistake")
                found = run(check, attempt, "its check")
            except Exception as error:
                found = error
            if not any(verdict.state == "hint" and words in verdict.text for verdict in verdicts(found)):
                yield f"{name} should say {words!r} but says {found!r} to this mistake:\n{code}"


def one_step(model, ids, labels, steps, *arguments, fit=training.fit, **settings):
    """`fit` with a single step, and a history of the length that all steps would have."""
    entries = steps // settings.get("every", 25) if "held_out" in settings else 1
    return entries * fit(model, ids, labels, 1, *arguments, **settings)


def run(source, namespace, name, asserts=True):
    """Run a cell's code, and give the value of its last line if that is an expression."""
    # Tracebacks show the cell's lines.
    linecache.cache[name] = len(source), None, source.splitlines(True), name
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


def calls(source):
    """The names of all functions that a cell's code calls."""
    nodes = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {node.attr if isinstance(node, ast.Attribute) else ast.unparse(node) for node in nodes}
