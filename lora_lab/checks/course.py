"""The exercises of the course, as its notebooks have them, and a map of what is solved."""

import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from lora_lab.checks.progress import progress_file, solved

TITLE, HEADING = re.compile(r"^# (\d\d) · (.+)", re.M), re.compile(r"^#{2,} (.+)", re.M)
CHECK = re.compile(r"^(check_\w+)\(([\w, ]+)\)$", re.M)


class Exercise(NamedTuple):
    """`heading` stands above it, `checker` judges it, and `answers` are the names that a learner defines."""

    heading: str
    checker: str
    answers: tuple

    @property
    def number(self):
        """2 of "Question 2 · Matrix product", 1.3 of "Exercise 1.3 · The last rank that pays"."""
        return re.search(r"[\d.]+|$", self.heading)[0]

    @property
    def name(self):
        """ "1.3 The last rank that pays" of that."""
        return re.sub(r"^\w+ ([\d.]+) · (.+?)(?: \([^(]*\))?$", r"\1 \2", self.heading)


class Lesson(NamedTuple):
    """A notebook of the course."""

    path: Path
    title: str
    exercises: list

    def link(self, text, heading=""):
        """Markdown that leads to the lesson, or to a heading in it, from a notebook beside it."""
        anchor = "#" + quote(heading.replace(" ", "-")) if heading else ""
        return f"[{text}]({quote(self.path.name)}{anchor})"


def lessons_in(folder):
    """The lessons of a folder in their order, `Lesson` each. What is no notebook, or a copy, is left out."""
    found = []
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        if not re.fullmatch(r"\w+", path.stem):  # a copy, such as 01_matrix_rank-Copy1
            continue
        try:
            cells = [(cell, "".join(cell["source"])) for cell in json.loads(path.read_bytes())["cells"]]
            found.append(Lesson(path, *contents_of(cells)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue  # a reader's own file, or a damaged one: the others can still be shown
    return found


def contents_of(cells):
    """The title and the exercises of (cell, source) pairs."""
    title, heading, exercises = "", "", []
    for cell, source in cells:
        if cell["cell_type"] == "markdown":
            title = title or " ".join(TITLE.search(source).groups())
            heading = [heading, *HEADING.findall(source)][-1]
        elif "check" in cell["metadata"].get("tags", []):
            for checker, answers in CHECK.findall(source):
                exercises.append(Exercise(heading, checker, tuple(answers.replace(" ", "").split(","))))
    return title, exercises


class CourseMap:
    """The lessons in a table, a tick for each solved exercise, and a link to the next step: the first open
    one after the last that is ticked, since who skipped one did so on purpose. `ticks` are names of checkers,
    and `trouble` a sentence that comes first.
    """

    def __init__(self, lessons, ticks=(), trouble=""):
        self.lessons, self.ticks, self.trouble = lessons, set(ticks), trouble

    def next_step(self):
        """(lesson, exercise), or None if all are solved."""
        steps = [(lesson, exercise) for lesson in self.lessons for exercise in lesson.exercises]
        done = [exercise.checker in self.ticks for _, exercise in steps]
        last = max((place for place, is_done in enumerate(done) if is_done), default=-1)
        places = [*range(last + 1, len(steps)), *range(last + 1)]
        return next((steps[place] for place in places if not done[place]), None)

    def _repr_markdown_(self):
        lines = ["| lesson | solved ✓, open ○ |", "|:--|:--|"]
        for lesson in self.lessons:
            marks = (f"{'✓' if e.checker in self.ticks else '○'} {e.number}" for e in lesson.exercises)
            lines.append(f"| {lesson.link(lesson.title)} | {'&emsp;'.join(marks)} |")
        step = self.next_step()
        after = f"**Next step:** {step[0].link(step[1].heading, step[1].heading)}" if step else repr(self)
        return "\n\n".join(filter(None, [self.trouble, "\n".join(lines), after]))

    def __repr__(self):
        checkers = {exercise.checker for lesson in self.lessons for exercise in lesson.exercises}
        count = f"{len(checkers & self.ticks)} of {len(checkers)} exercises solved."
        return f"{self.trouble} {count}".strip()


def course_map():
    """The map of the lessons in this folder, with the ticks of their reader."""
    lessons, path = lessons_in("."), progress_file()
    try:
        return CourseMap(lessons, solved(path) if path else ())
    except ValueError as damaged:
        return CourseMap(lessons, trouble=str(damaged))
