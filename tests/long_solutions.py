"""A reader solves everything, after attempts that fail, and moves the sliders; then goes back to them."""

import contextlib

import pytest
from attempts import (
    calls,
    checkers_of,
    one_step,
    run,
    same_dice,
    solution_faults,
    unexpected_verdicts,
)
from IPython.display import display
from notebook_rules import NOTEBOOKS, cells, exercises, read, solution_code, tags

from lora_lab import training
from lora_lab.drawing import Explorer


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_can_be_solved_from_top_to_bottom(path, monkeypatch):
    """No exercise rests on what was trained, but the capstone's: a training is one step, and the lesson's own
    asserts, which other tests run, are left out.
    """
    if path.stem != "15_capstone":
        monkeypatch.setattr(training, "fit", one_step)
    notebook, checkers = read(path), checkers_of(path)
    below = {id(stub): (check, solution) for stub, check, solution in exercises(notebook)}
    namespace, problems, explorers = {"__name__": "__main__", "display": display}, [], []
    with contextlib.chdir(path.parent):
        for place, cell in cells(notebook, "code"):
            if id(cell) in below:
                check, solution = below[id(cell)]
                with same_dice():
                    problems += unexpected_verdicts(check.source, namespace, calls(check.source) & checkers)
                run(solution_code(solution), namespace, f"the solution of {place}")
                continue
            value = run(cell.source, namespace, place, asserts=False)
            if "check" in tags(cell):
                problems += solution_faults(value, len(calls(cell.source) & checkers))
            if isinstance(value, Explorer):
                with same_dice():
                    problems += value.faults(most=3)
                explorers.append((value, pictures_of(value)))
        # A reader comes back to a slider after Run All, when its names may mean something else.
        for explorer, shown in explorers:
            if pictures_of(explorer) != shown:
                problems.append(f"at the end {explorer!r} shows other pictures than where it stands")
    assert not problems, "\n".join([f"{path.name}:", *problems])


def pictures_of(explorer):
    """What the reader sees on a short walk of its sliders; they end where they were."""
    start = [slider.index for slider in explorer.sliders.values()]
    seen = []
    for places in (*dict.fromkeys(explorer.walk(2)), start):
        for slider, place in zip(explorer.sliders.values(), places, strict=True):
            slider.index = place
        seen.append(explorer.picture.value)
    return seen
