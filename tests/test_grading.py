"""`python -m lora_lab.checks FOLDER`, held against the notebooks of a class that was made for it."""

import contextlib
import csv
import io
import os
import subprocess
import sys

import nbformat
import pytest
from notebook_rules import NOTEBOOKS, exercises, read, solution_code
from planted_mistakes import PLANTED

from lora_lab.checks import kernel
from lora_lab.checks.__main__ import NO_SANDBOX, command_line
from lora_lab.checks.course import lessons_in
from lora_lab.checks.kernel import Limits

LESSON = NOTEBOOKS / "01_matrix_rank.ipynb"
(COURSE,) = [lesson for lesson in lessons_in(NOTEBOOKS) if lesson.path == LESSON]
CHECKERS = [exercise.checker for exercise in COURSE.exercises]
SAVED, BOARD, PAYS, BEFORE = CHECKERS
SOLUTIONS = {
    checker: solution_code(solution)
    for checker, (_, _, solution) in zip(CHECKERS, exercises(read(LESSON)), strict=True)
}
WRONG = {checker: PLANTED[checker][0][0] for checker in CHECKERS}
IMPORTS = f"import numpy as np\nfrom lora_lab.checks.lesson_01 import {', '.join(CHECKERS)}"


def homework(answers, first="", last=""):
    """A notebook of lesson 01's exercises: the code that `answers` has for a checker stands in its stub's
    place, None takes the exercise out; `first` and `last` are cells of the learner's own.
    """
    sources = [first, IMPORTS]
    for checker, (stub, check, _) in zip(CHECKERS, exercises(read(LESSON)), strict=True):
        code = answers.get(checker, stub.source)
        sources += [] if code is None else [code, check.source]
    cells = [nbformat.v4.new_code_cell(source) for source in [*sources, last] if source]
    return nbformat.v4.new_notebook(cells=cells)


STUBBORN = """
def largest_paying_rank(rows, columns):
    while True:
        try:
            while True:
                pass
        except KeyboardInterrupt:
            continue
"""
FORMULA = 'import os\ndef numbers_saved(rows, columns, rank):\n    raise ValueError("\\x1b[2J\\n=1+1")'

ENDS = {
    SAVED: "import os; os._exit(0)",
    PAYS: "def largest_paying_rank(rows, columns):\n    raise SystemExit",
    BEFORE: "hold = [bytearray(b'1') * 10**8 for i in range(999)]",
}

# Ways to be told "correct" without an answer. Each is run with wrong answers.
NEW_CHECKS = f"""
class Fine:
    state, text = "correct", "Correct."
{"; ".join(f"{checker} = lambda *answers: Fine()" for checker in CHECKERS)}
"""
CHEATS = {
    "new checks and prints": {"last": NEW_CHECKS + f'{BOARD}(1)\nprint("correct Correct.\\n" * 99)'},
    "patches the checks": {
        "first": """
import lora_lab.checks as checks, lora_lab.checks.lesson_01 as lesson, sys
for name in [name for name in vars(lesson) if name.startswith("check_")]:
    setattr(lesson, name, lambda *answers: checks.Verdict("correct", "Correct."))
checks.Verdict.__init__ = lambda self, *words: vars(self).update(state="correct", text="Correct.")
checks.checker = lesson.checker = lambda check: lambda *answers: checks.Verdict()
"""
    },
    "other files": {
        "first": """
from pathlib import Path
import importlib, lora_lab.checks, lora_lab.checks.lesson_01, sys
here = Path("lora_lab/checks")
here.mkdir(parents=True)
(here.parent / "__init__.py").touch()
(here / "__init__.py").write_text("")
fake = "class Fine: state, text = 'correct', ''\\ndef __getattr__(name): return lambda *answers: Fine"
(here / "lesson_01.py").write_text(fake)
for name in [name for name in sys.modules if name.startswith("lora_lab")]:
    del sys.modules[name]
sys.path.insert(0, ".")
"""
    },
}

CLASS = {
    "anna/01_matrix_rank": homework(SOLUTIONS),
    "anna_01_matrix_rank": homework({SAVED: SOLUTIONS[SAVED]}),
    "ben/01_matrix_rank": homework(WRONG),
    "crash/01_matrix_rank": homework(SOLUTIONS | {BOARD: "board_B = 1 +"}, last="1 / 0"),
    "ends/01_matrix_rank": homework(SOLUTIONS | ENDS, last="exit()"),
    "loop/01_matrix_rank": homework(
        SOLUTIONS | {SAVED: "while True:\n    print('on and on')", PAYS: STUBBORN}
    ),
    "lacks/01_matrix_rank": homework(SOLUTIONS | {PAYS: None}),
    "other/my homework": homework(SOLUTIONS),
    "resets/01_matrix_rank": homework(SOLUTIONS, first="%reset -f"),
    "=1+1/01_matrix_rank": homework({SAVED: FORMULA}),
    "zz/notes": nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]),
    **{f"cheat/{way}/01_matrix_rank": homework(WRONG, **cells) for way, cells in CHEATS.items()},
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The folder of the class, what is printed, and {file: rows} of the CSV file, for one run over all."""
    folder, table = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out") / "verdicts.csv"
    for name, notebook in CLASS.items():
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
    (folder / "zz" / "broken.ipynb").write_text("{")
    (folder / "anna" / ".ipynb_checkpoints").mkdir()
    (folder / "anna" / ".ipynb_checkpoints" / "01_matrix_rank-checkpoint.ipynb").write_text("{")
    before, printed = state_of(folder), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(kernel, "SECONDS_TO_OBEY", 3)
        command_line([str(folder), "--csv", str(table), "--seconds", "3", "--megabytes", "700"])
    assert state_of(folder) == before, "a learner's file was changed"
    rows = list(csv.DictReader(table.open(encoding="utf-8-sig", newline="")))
    by_file = {
        name: [row for row in rows if row["file"].lstrip("'") == f"{name}.ipynb"]
        for name in [*CLASS, "zz/broken"]
    }
    assert sum(map(len, by_file.values())) == len(rows)
    return folder, printed.getvalue(), by_file


def state_of(folder):
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")
    }


def found(judged, name):
    """{exercise: (verdict, hint)} of a notebook, with "" for what is said of it as a whole."""
    return {row["exercise"][:3]: (row["verdict"], row["hint"]) for row in judged[2][name]}


RIGHT = {number: ("correct", "") for number in ("1.1", "1.2", "1.3", "1.4")}


def test_right_answers_are_correct(judged):
    assert found(judged, "anna/01_matrix_rank") == RIGHT
    row = judged[2]["anna/01_matrix_rank"][1]
    assert (row["who"], row["lesson"], row["exercise"]) == ("anna", "01_matrix_rank", "1.2 A chessboard")


def test_wrong_answers_get_their_hints(judged):
    for (verdict, hint), checker in zip(found(judged, "ben/01_matrix_rank").values(), CHECKERS, strict=True):
        assert verdict == "hint" and PLANTED[checker][0][1] in hint and "Not yet" not in hint


def test_a_notebook_that_forgets_all_names_is_judged_as_any(judged):
    assert found(judged, "resets/01_matrix_rank") == RIGHT


@pytest.mark.parametrize("seconds", ["0.5", "nan"])
def test_too_short_a_time_is_refused(seconds, capsys):
    with pytest.raises(SystemExit):
        command_line([".", "--seconds", seconds])
    assert "--seconds must be from 1 to a million" in capsys.readouterr().err


def test_a_name_that_the_output_cannot_show_does_not_end_the_class(tmp_path):
    """As where the output goes to a file on Windows. Where all names are ASCII, the letter is lost."""
    name = os.fsdecode("Łukasz".encode())
    for folder in (name, "zoe"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01_matrix_rank.ipynb").write_text("{")
    command = [sys.executable, "-m", "lora_lab.checks", ".", "--csv", "out.csv"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, text=True)
    assert run.returncode == 0 and "ukasz" in run.stdout, run.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8-sig", newline="")))
    assert [row["who"] for row in rows] == ["zoe", "Łukasz" if name == "Łukasz" else "ukasz"]


def test_what_was_not_attempted_is_said_to_be_so(judged):
    assert found(judged, "anna_01_matrix_rank") == {
        number: ("correct" if number == "1.1" else "not attempted", "") for number in RIGHT
    }
    assert judged[2]["anna_01_matrix_rank"][0]["who"] == "anna_01_matrix_rank"


def test_a_cell_that_crashes_hides_no_other_exercise(judged):
    rows = found(judged, "crash/01_matrix_rank")
    verdict, hint = rows.pop("1.2")
    assert verdict == "stopped" and hint.startswith("the cell `board_B = 1 +` stopped with SyntaxError: ")
    assert rows.pop("") == ("stopped", "the cell `1 / 0` stopped with ZeroDivisionError: division by zero")
    assert rows == {number: RIGHT[number] for number in ("1.1", "1.3", "1.4")}


def test_nor_does_one_that_ends_its_kernel_or_takes_all_memory(judged):
    rows = found(judged, "ends/01_matrix_rank")
    assert rows == {
        "1.1": ("stopped", "the cell `import os; os._exit(0)` ended its kernel"),
        "1.2": ("correct", ""),
        "1.3": ("stopped", "the check of it stopped with SystemExit:"),
        "1.4": ("stopped", f"the cell `{ENDS[BEFORE]}` took more than 700 MB of memory"),
        "": ("stopped", "the cell `exit()` ended its kernel"),
    }


def test_nor_does_one_that_loops(judged):
    rows = found(judged, "loop/01_matrix_rank")
    assert rows.pop("1.1") == ("stopped", "the cell `while True:` was stopped after 3 seconds")
    assert rows.pop("1.3") == ("stopped", "the answer did not stop after 3 seconds")
    assert rows == {number: RIGHT[number] for number in ("1.2", "1.4")}


def test_an_exercise_that_is_not_there_is_a_row(judged):
    rows = found(judged, "lacks/01_matrix_rank")
    assert rows.pop("1.3") == ("missing", "the notebook does not define `largest_paying_rank`")
    assert rows == {number: RIGHT[number] for number in ("1.1", "1.2", "1.4")}


def test_a_renamed_notebook_is_known_by_its_checks(judged):
    rows = found(judged, "other/my homework")
    assert rows.pop("") == ("renamed", "it has another name, but the checks of 01_matrix_rank")
    assert rows == RIGHT


@pytest.mark.parametrize(("name", "verdict"), [("zz/notes", "no lesson"), ("zz/broken", "unreadable")])
def test_what_is_no_lesson_is_a_row(judged, name, verdict):
    assert [row["verdict"] for row in judged[2][name]] == [verdict]


@pytest.mark.parametrize("way", CHEATS)
def test_a_notebook_cannot_make_itself_right(judged, way):
    rows = found(judged, f"cheat/{way}/01_matrix_rank")
    rows.pop("", None)
    assert [verdict for verdict, _ in rows.values()] == ["hint"] * 4, rows


def test_each_way_to_cheat_does_deceive_its_own_notebook():
    """Else the test above would show nothing: some of these are run here and say "correct"."""
    for way in ("new checks and prints", "patches the checks", "other files"):
        printed = outputs_of(homework(WRONG, **CHEATS[way]))
        assert "correct" in printed or "Correct." in printed, way


def outputs_of(notebook):
    """What a learner sees of a notebook, run as it is."""
    shown = nbformat.v4.new_code_cell("print([check(2, 3).state for check in [check_checkerboard]])")
    notebook.cells.append(shown)
    with kernel.fresh_kernel(NOTEBOOKS, Limits()) as running:
        return "".join(running.run(cell.source, 60)[0] for cell in notebook.cells)


def test_no_text_of_a_learner_steers_a_terminal_or_a_spreadsheet(judged):
    row = judged[2]["=1+1/01_matrix_rank"][0]
    assert row["who"] == "'=1+1" and row["hint"] == "your code stopped with ValueError: [2J =1+1"
    assert "\x1b" not in judged[1]


def test_it_says_that_it_is_no_sandbox_and_prints_what_it_writes(judged):
    printed = " ".join(judged[1].split())
    assert printed.startswith(NO_SANDBOX)
    assert "anna/01_matrix_rank.ipynb 1.1 What is saved correct 1.2 A chessboard correct" in printed
    assert f"{len(CLASS) + 1} notebooks; the table is in " in printed


@pytest.mark.parametrize("words", [["no such folder"], ["empty"], ["full", "--lessons", "empty"]])
def test_without_anything_to_judge_it_says_so(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.ipynb").write_text("{")
    with pytest.raises(SystemExit, match=r"^there (is|are) no"):
        command_line(words)
    assert sorted(os.listdir(tmp_path)) == ["empty", "full"]


class SilentClient:
    """A client of a kernel that obeys and prints nothing more."""

    class km:
        @staticmethod
        async def interrupt_kernel():
            pass

    def execute_cell(self, cell, number):
        pass


def test_a_kernel_that_is_silent_after_an_interrupt_is_lost():
    """So the notebook begins anew without that cell, and is not said to have broken what judges it."""
    with pytest.raises(kernel.KernelLost, match="was stopped after 7 seconds"):
        kernel.Kernel(SilentClient()).interrupt(7)
