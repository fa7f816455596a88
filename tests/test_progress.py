"""Ticks: what a checker notes beside the lessons, and the map that lesson 00 draws of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from urllib.parse import unquote

import pytest
from notebook_rules import NOTEBOOKS, ROOT, without_code

from lora_lab.checks import progress
from lora_lab.checks.course import CourseMap, course_map, lessons_in
from lora_lab.checks.lesson_00 import check_norm, check_outer


@pytest.fixture
def learner(tmp_path, monkeypatch):
    """The folder of a learner who has lessons 00 and 01, in which the test works."""
    for path in sorted(NOTEBOOKS.glob("0[01]_*.ipynb")):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORA_LAB_PROGRESS")
    return tmp_path


def ticked(folder):
    """What the file in a folder says is solved, or None."""
    path = folder / "progress.json"
    return json.loads(path.read_text(encoding="utf-8"))["solved"] if path.exists() else None


def files(folder):
    return {path.name for path in folder.iterdir()} - {path.name for path in NOTEBOOKS.iterdir()}


def test_what_is_correct_is_ticked_once_and_nothing_else(learner):
    check_norm(7), check_norm(...)
    assert files(learner) == set()
    check_norm(5), check_outer((3, 4)), check_norm(5), check_norm(7)
    assert ticked(learner) == ["check_norm", "check_outer"]
    assert files(learner) == {"progress.json"}


def test_who_deletes_the_file_begins_anew(learner):
    check_norm(5)
    (learner / "progress.json").unlink()
    assert repr(course_map()) == "0 of 11 exercises solved."
    check_outer((3, 4))
    assert ticked(learner) == ["check_outer"]


def test_what_another_version_of_the_course_ticked_stays(learner):
    (learner / "progress.json").write_text('{"solved": ["check_of_next_year"]}')
    check_norm(5)
    assert ticked(learner) == ["check_of_next_year", "check_norm"]
    assert repr(course_map()) == "1 of 11 exercises solved."


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"solved": 5}', '{"solved": [1]}', "[" * 10**5, "\0"]
)
def test_a_damaged_file_is_said_to_be_damaged_and_left_alone(learner, content):
    path = learner / "progress.json"
    path.write_text(content)
    verdict = check_norm(5)
    damaged = "progress.json is damaged, so nothing is ticked: delete it to start afresh."
    assert (verdict.state, verdict.text) == ("correct", f"Correct. {damaged}")
    assert repr(course_map()) == f"{damaged} 0 of 11 exercises solved."
    assert course_map()._repr_markdown_().startswith(f"{damaged}\n\n| lesson")
    assert path.read_text() == content and files(learner) == {"progress.json"}


def test_bytes_that_are_no_text_and_a_folder_in_its_place_are_damaged_too(learner):
    (learner / "progress.json").write_bytes(b"\xff")
    assert "is damaged" in check_norm(5).text
    (learner / "progress.json").unlink()
    (learner / "progress.json").mkdir()
    assert "is damaged" in check_norm(5).text


def test_a_folder_that_cannot_be_written_to_is_no_error(learner, monkeypatch):
    def refuse(path, mode="r", *arguments, opened=progress.Path.open, **settings):
        if mode != "r":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *arguments, **settings)

    monkeypatch.setattr(progress.Path, "open", refuse)  # root may write everywhere, so no mode will do
    assert check_norm(5).text == "Correct."
    assert ticked(learner) is None


def test_a_disk_that_is_full_leaves_the_old_file(learner, monkeypatch):
    check_norm(5)

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress.json, "dump", full)
    assert check_outer((3, 4)).text == "Correct."
    assert ticked(learner) == ["check_norm"] and files(learner) == {"progress.json"}


AT_ONCE = """
import sys, time
from lora_lab.checks.progress import note_solved

def check():
    pass

check.__module__ = "lora_lab.checks.lesson_00"
time.sleep(max(0, float(sys.argv[1]) - time.time()))
for number in range(40):
    check.__name__ = f"check_{sys.argv[2]}_{number}"
    note_solved(check)
"""


def test_lessons_that_are_solved_at_once_lose_no_tick(learner):
    start = str(time.time() + 1)
    solving = [subprocess.Popen([sys.executable, "-c", AT_ONCE, start, who]) for who in "abc"]
    assert [process.wait(60) for process in solving] == [0, 0, 0]
    assert sorted(ticked(learner)) == sorted(f"check_{who}_{n}" for who in "abc" for n in range(40))


def test_a_writer_that_was_stopped_hinders_nobody_for_long(learner):
    part = learner / "progress.part"
    part.write_text("{")
    long_ago = time.time() - 2 * progress.SECONDS_TO_WRITE
    os.utime(part, (long_ago, long_ago))
    check_norm(5)
    assert ticked(learner) == ["check_norm"] and files(learner) == {"progress.json"}


def test_nothing_is_ticked_where_it_is_off_or_where_lesson_00_is_not(learner, monkeypatch):
    (learner / "00_start_here.ipynb").unlink()
    assert check_norm(5).text == "Correct." and ticked(learner) is None
    shutil.copy(NOTEBOOKS / "00_start_here.ipynb", learner)
    check_norm(5)
    monkeypatch.setenv("LORA_LAB_PROGRESS", "off")
    check_outer((3, 4))
    assert ticked(learner) == ["check_norm"]
    assert repr(course_map()) == "0 of 11 exercises solved."


def test_the_tests_tick_nothing_and_git_does_not_see_the_file():
    assert os.environ["LORA_LAB_PROGRESS"] == "off"
    assert "LORA_LAB_PROGRESS=off" in (ROOT / "Makefile").read_text(encoding="utf-8")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"progress.json", "progress.part"} <= set(ignored)


# The map


def test_the_map_has_each_exercise_of_the_course_with_its_tick():
    lessons = lessons_in(NOTEBOOKS)
    assert len(lessons) == len(list(NOTEBOOKS.glob("*.ipynb")))
    assert all(lesson.exercises and lesson.title for lesson in lessons)
    row = CourseMap(lessons, ["check_checkerboard"])._repr_markdown_().splitlines()[3]
    assert row == "| [01 Matrix rank](01_matrix_rank.ipynb) | ○ 1.1&emsp;✓ 1.2&emsp;○ 1.3&emsp;○ 1.4 |"


@pytest.mark.parametrize(
    ("ticks", "number"),
    [
        ((), "1"),
        (("check_norm",), "2"),
        (("check_checkerboard",), "1.3"),  # who skipped 1.1 did so on purpose
        (("check_before_and_after",), "1"),  # but at the end comes what was skipped
    ],
)
def test_the_next_step_is_the_first_open_exercise_after_the_last_solved(learner, ticks, number):
    assert CourseMap(lessons_in(learner), ticks).next_step()[1].number == number


def test_who_has_solved_all_is_told_so(learner):
    lessons = lessons_in(learner)
    everything = CourseMap(lessons, [e.checker for lesson in lessons for e in lesson.exercises])
    assert everything.next_step() is None
    assert everything._repr_markdown_().endswith("\n\n11 of 11 exercises solved.")


def test_its_link_leads_to_the_heading_of_the_exercise(learner):
    text = CourseMap(lessons_in(learner), ["check_checkerboard"])._repr_markdown_()
    step = text.splitlines()[-1].removeprefix("**Next step:** [")
    assert step.startswith(
        "Exercise 1.3 · The last rank that pays (medium, 5 minutes)](01_matrix_rank.ipynb#"
    )
    anchor = unquote(step.partition("#")[2].removesuffix(")"))
    assert anchor == "Exercise-1.3-·-The-last-rank-that-pays-(medium,-5-minutes)"
    assert without_code(text).count("](0") == 3  # two lessons, one step; brackets in a link would break it


def test_a_copy_or_a_damaged_lesson_does_not_hide_the_others(learner):
    (learner / "01_matrix_rank.ipynb").write_text("{")
    (learner / "03_deep.ipynb").write_text("[" * 100_000)
    copy = learner / "00_start_here-Copy1.ipynb"  # as JupyterLab names it
    copy.write_bytes((learner / "00_start_here.ipynb").read_bytes())
    (learner / "02_notes.ipynb").write_text('{"cells": [{"cell_type": "markdown", "source": "my notes"}]}')
    assert [lesson.title for lesson in lessons_in(learner)] == ["00 Start here"]
