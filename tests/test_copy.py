"""`python -m lora_lab` gives a reader the lessons, and never takes anything from them."""

import shutil
from pathlib import Path

import pytest
from jupyterlab import labapp
from notebook_rules import ROOT

import lora_lab.__main__ as copying


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_is_the_course_and_its_links_lead_to_its_pictures(tmp_path, capsys):
    copying.copy_and_open([str(tmp_path / "mine"), "--only-copy"])
    found = everything(tmp_path / "mine")
    lessons, pictures = (sorted((ROOT / kind).parent.glob((ROOT / kind).name)) for kind in copying.KINDS)
    assert len(lessons) > 10 and len(pictures) > 5
    assert found == {path.relative_to(ROOT): path.read_bytes() for path in (*lessons, *pictures)}
    assert capsys.readouterr().out == f"{tmp_path / 'mine'}: {len(found)} files copied\n"


def test_a_second_copy_adds_what_is_new_and_writes_over_nothing(tmp_path, capsys):
    copying.copy_lessons(tmp_path)
    mine = tmp_path / "notebooks" / "02_svd.ipynb"
    mine.write_text("my answers")
    (tmp_path / "notebooks" / "progress.json").write_text("{}")
    (tmp_path / "notebooks" / "03_image_compression.ipynb").unlink()
    before = everything(tmp_path)
    copying.copy_and_open([str(tmp_path), "--only-copy"])
    after = everything(tmp_path)
    assert {path: after[path] for path in before} == before and len(after) == len(before) + 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("1 files copied, yours left as they are")
    assert said[1] == "not the course's any more, and untouched: 02_svd.ipynb"


def test_a_file_in_the_place_of_the_folder_gets_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SystemExit, match=r"cannot be copied to .*taken: .*; name another folder"):
        copying.copy_and_open([str(tmp_path / "taken"), "--only-copy"])
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_that_may_not_be_written_gets_a_sentence(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied", target)

    monkeypatch.setattr(copying.shutil, "copyfile", refuse)
    with pytest.raises(SystemExit, match=r"cannot be copied to .*: Permission denied; name another folder"):
        copying.copy_and_open([str(tmp_path / "new"), "--only-copy"])


def test_a_lesson_whose_copy_broke_off_is_copied_again(tmp_path, monkeypatch):
    """And is not taken for the reader's own."""

    def break_off(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise OSError(28, "No space left on device", target)

    with monkeypatch.context() as full:
        full.setattr(copying.shutil, "copyfile", break_off)
        with pytest.raises(OSError):
            copying.copy_lessons(tmp_path)
    copied, kept = copying.copy_lessons(tmp_path)
    assert not kept and copied == len(list(tmp_path.rglob("*.*")))
    assert not list(tmp_path.rglob("*.part"))


def test_jupyterlab_is_opened_on_the_first_lesson_or_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(labapp, "main", lambda words: calls.append(words) or 0)
    with pytest.raises(SystemExit) as left:
        copying.copy_and_open([str(tmp_path)])
    assert left.value.code == 0 and calls[0][-1] == str(tmp_path / "notebooks" / "00_start_here.ipynb")
    monkeypatch.setattr(copying.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="JupyterLab is missing: run 'pip install jupyterlab'"):
        copying.copy_and_open([str(tmp_path)])
    assert len(calls) == 1


def test_an_installed_package_has_its_lessons_inside(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "images", tmp_path / "course" / "images")
    monkeypatch.setattr(copying, "PACKAGE", tmp_path)
    assert copying.course_folder() == tmp_path / "course"
