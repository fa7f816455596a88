"""`python -m lora_lab.checks FOLDER` judges the notebooks of a class; `--help` says the rest."""

import argparse
import csv
import sys
import textwrap
from pathlib import Path

from lora_lab.__main__ import course_folder
from lora_lab.checks.course import lessons_in
from lora_lab.checks.grading import Row, rows_of
from lora_lab.checks.kernel import Limits

LESSONS = course_folder() / "notebooks"
NO_SANDBOX = (
    "This runs the learners' code, in copies and with limits of time and memory, but with your rights and "
    "your network: it is no sandbox."
)


def judge_class(arguments):
    """Print a table of all rows, and write it as CSV. SystemExit with a sentence if there is nothing to
    judge, no lesson to judge by, or no place for the table.
    """
    folder = Path(arguments.folder)
    lessons = lessons_in(arguments.lessons)
    if not lessons:
        sys.exit(f"there are no lessons in {arguments.lessons}: name the course's notebooks with --lessons")
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}: name the one that holds the learners' notebooks")
    paths = [path for path in sorted(folder.rglob("*.ipynb")) if is_a_learners(path.relative_to(folder))]
    if not paths:
        sys.exit(f"there is no notebook in {folder}")
    print(textwrap.fill(NO_SANDBOX, 100))
    limits = Limits(arguments.seconds, 10 * arguments.seconds, arguments.megabytes)
    try:
        # With a mark that tells Excel that it is UTF-8.
        with open(arguments.csv, "w", newline="", encoding="utf-8-sig") as file:
            table = csv.writer(file)
            table.writerow(Row._fields)
            for path in paths:
                rows = rows_of(path, folder, lessons, limits)
                print(f"\n{rows[0].file}", *map(line_of, rows), sep="\n", flush=True)
                table.writerows(map(safe, rows))
                file.flush()  # what is done is kept if the run is stopped
    except OSError as error:
        sys.exit(f"the table in {arguments.csv} is not complete: {error.strerror}")
    print(f"\n{len(paths)} notebooks; the table is in {arguments.csv}")


def is_a_learners(path):
    """False for what an editor or a Mac puts beside a notebook."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def line_of(row):
    """A row for the terminal; the hint is cut off, and is whole in the CSV."""
    line = f"  {row.exercise or '(notebook)':<32}  {row.verdict:<13}  {row.hint}".rstrip()
    return line if len(line) <= 140 else line[:137] + "..."


def safe(row):
    """A row for a spreadsheet, which would compute what begins like a formula."""
    return [f"'{text}" if text.startswith(("=", "+", "-", "@")) else text for text in row]


def command_line(words=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lora_lab.checks",
        description="Judge the notebooks of a class: who, which exercise, verdict, hint.",
        epilog=NO_SANDBOX,
    )
    limits = Limits()
    parser.add_argument("folder", help="with the learners' notebooks, in folders of theirs or not; only read")
    parser.add_argument("--csv", default="verdicts.csv", help="where to write the table (verdicts.csv)")
    parser.add_argument("--lessons", default=LESSONS, help="the course's notebooks, if they are elsewhere")
    for option, default, what in (
        ("--seconds", limits.seconds, "for each cell and each check; a notebook has ten times as many"),
        ("--megabytes", limits.megabytes, "of memory for a notebook"),
    ):
        parser.add_argument(option, type=float, default=default, help=f"{what} ({default:.0f})")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.seconds <= 1e6:
        parser.error("--seconds must be from 1 to a million")
    judge_class(arguments)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a name that the output cannot show ends nothing
    command_line()
