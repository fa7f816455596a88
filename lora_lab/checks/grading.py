"""The notebooks of a class, judged by the course's checkers: a row for each exercise, and for all that kept
one from being judged. A notebook runs cell by cell in a kernel of its own; a cell that stops, loops or takes
the kernel with it is left behind, and the others go on.
"""

import re
import secrets
import time
from pathlib import Path
from typing import NamedTuple

import nbformat

from lora_lab.checks.kernel import Halted, KernelLost, Limits, fresh_kernel

# What can be found of an exercise, and what is said of it.
HINTS = {
    "correct": "",
    "hint": "{}",
    "not attempted": "",
    "missing": "the notebook does not define {}",
    "stopped": "{}",
}
STATES = tuple(HINTS)
SECONDS_TO_START = 120  # the checkers import what they need, PyTorch for most lessons


DEFAULT = Limits()


class Row(NamedTuple):
    """Who, in which file of which lesson, and what was found there. The verdict is one of STATES, or, of a
    notebook as a whole, "renamed", "no lesson" or "unreadable".
    """

    who: str
    file: str
    lesson: str
    exercise: str
    verdict: str
    hint: str


def rows_of(path, folder, lessons, limits=DEFAULT):
    """The rows of the notebook at `path` somewhere in `folder`. `lessons` are the course's (see `course`)."""
    file = path.relative_to(folder)
    who = file.parent.as_posix() if file.parent.parts else path.stem

    def row(lesson, exercise, verdict, hint):
        texts = (who, file.as_posix(), lesson, exercise, verdict, hint)
        return Row(*(printable(text) for text in texts))

    try:
        notebook = nbformat.read(path, as_version=4)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # whatever a file may hold
        return [row("", "", "unreadable", f"this is no notebook: {type(error).__name__}: {error}")]
    lesson = lesson_of(path.stem, sources, lessons)
    if lesson is None:
        return [row("", "", "no lesson", "neither its name nor its checks are those of a lesson")]
    rows, name = [], lesson.path.stem
    if name not in path.stem:
        rows.append(row(name, "", "renamed", f"it has another name, but the checks of {name}"))
    try:
        verdicts, troubles = graded(sources, lesson, limits)
    except Exception as error:  # a kernel that cannot be started, for one
        return [*rows, row(name, "", "stopped", f"it could not be run: {type(error).__name__}: {error}")]
    rows += [row(name, "", "stopped", trouble) for trouble in troubles]
    return rows + [row(name, exercise.name, *verdicts[exercise.checker]) for exercise in lesson.exercises]


def printable(text):
    """A text on one line, without what could steer a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def lesson_of(name, sources, lessons):
    """The lesson most of whose checkers a notebook names; if it names none, the one whose name it has."""
    code = "\n".join(sources)
    counts = [sum(exercise.checker in code for exercise in lesson.exercises) for lesson in lessons]
    if any(counts):
        return lessons[counts.index(max(counts))]
    return next((lesson for lesson in lessons if lesson.path.stem in name), None)


def graded(sources, lesson, limits):
    """{checker: (verdict, hint)} of a notebook's code cells, and a sentence for each cell that stopped and is
    not the reason of a verdict.
    """
    sections = sections_of(sources, lesson.exercises)
    verdicts, stopped, lost = {}, {}, set()
    deadline = time.monotonic() + limits.together
    while not run_through(sections, sources, lesson, limits, deadline, verdicts, stopped, lost):
        pass  # each time without the cell that took the kernel with it
    for exercise, places in sections:
        if exercise is None:
            continue
        too_long = ("stopped", f"the {limits.together:.0f} seconds for a notebook were over")
        verdict, _ = verdicts.setdefault(exercise.checker, too_long)
        reasons = [stopped.pop(place) for place in places if place in stopped and verdict == "missing"]
        if reasons:
            verdicts[exercise.checker] = ("stopped", reasons[0])
    return verdicts, list(stopped.values())


def sections_of(sources, exercises):
    """(exercise, places of the cells to run before it is judged), in the order of the notebook: an exercise
    is judged below the last cell that calls its checker, or at the end. The rest comes last, with None.
    """
    end = {}
    for exercise in exercises:
        places = [place for place, source in enumerate(sources) if calls(source, exercise)]
        end[exercise] = [len(sources), *(place + 1 for place in places)][-1]
    sections, begin = [], 0
    for exercise in sorted(exercises, key=end.get):
        sections.append((exercise, range(begin, end[exercise])))
        begin = end[exercise]
    return [*sections, (None, range(begin, len(sources)))]


def calls(source, exercise):
    """Whether a cell calls the checker of an exercise."""
    return re.search(rf"\b{exercise.checker}\s*\(", source)


def run_through(sections, sources, lesson, limits, deadline, verdicts, stopped, lost):
    """Run a notebook in one kernel: its cells without those that were `lost`, and what has no verdict yet.
    Fills in `verdicts`, `stopped` and `lost`. False if the kernel was lost before the end.
    """

    def seconds():
        return min(limits.seconds, deadline - time.monotonic())

    with fresh_kernel(lesson.path.parent, limits) as kernel:
        judge = Judge(kernel, lesson)
        for exercise, places in sections:
            for place in places:
                if seconds() < 1:
                    return True
                if place in lost or not sources[place].strip():
                    continue
                halted = None
                try:
                    why = kernel.run(sources[place], seconds())[1]
                except Halted as reason:
                    why, halted = str(reason), reason
                    lost.add(place)
                if halted and exercise and calls(sources[place], exercise):
                    verdicts[exercise.checker] = ("stopped", f"the answer {why}")
                elif why:
                    stopped[place] = f"the cell `{sources[place].strip().splitlines()[0]}` {why}"
                if isinstance(halted, KernelLost):
                    return False
            if exercise and exercise.checker not in verdicts and seconds() >= 1:
                try:
                    verdicts[exercise.checker] = judge(exercise, seconds())
                except Halted as reason:
                    verdicts[exercise.checker] = ("stopped", f"the answer {reason}")
                    if isinstance(reason, KernelLost):
                        return False
    return True


class Judge:
    """Asks for verdicts in a kernel in which nothing of the learner has run yet; see `judge`."""

    def __init__(self, kernel, lesson):
        self.kernel, self.name = kernel, f"judge_{secrets.token_hex(8)}"
        here = Path(__file__).parent
        arguments = f"get_ipython().user_ns, {str(here)!r}, 'lesson_{lesson.path.stem[:2]}'"
        ready = f"runpy.run_path({str(here / 'judge.py')!r})['ready']({arguments})"
        # There, `%reset` in a notebook does not reach it.
        kept = f"import builtins, runpy\nbuiltins.{self.name} = {ready}\ndel builtins, runpy"
        _, why = kernel.run(kept, SECONDS_TO_START)
        if why:
            raise RuntimeError(f"the checkers of {lesson.title} cannot be loaded: the cell {why}")

    def __call__(self, exercise, seconds):
        """(verdict, hint). Only a line that begins with a word that was made for it is a verdict."""
        words = {state: secrets.token_hex(8) for state in STATES}
        asked = f"{self.name}({exercise.checker!r}, {exercise.answers!r}, {words!r})"
        printed, why = self.kernel.run(asked, seconds)
        for line in printed.splitlines():
            word, _, text = line.partition(" ")
            for state in STATES:
                if word == words[state]:
                    return state, HINTS[state].format(text.removeprefix("Not yet: "))
        return "stopped", f"the answer {why}" if why else "the notebook has broken what judges it"
