"""What lesson 00 says of an installation that is not as the course needs it."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
from notebook_rules import ROOT, read

from lora_lab.checks.lesson_00 import installation_problems


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    """A function that writes a requirements.txt of the given lines, on a computer with two cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    def write(*lines):
        path = tmp_path / "requirements.txt"
        path.write_text("\n".join(lines))
        return path

    return write


def test_nothing_is_said_when_all_is_as_pinned(requirements):
    lines = ["# comment", f"numpy=={metadata.version('numpy')}", "-e ."]
    assert installation_problems(requirements(*lines)) == []


def test_a_build_of_the_same_version_is_the_same(requirements, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    assert installation_problems(requirements("torch==2.13.0")) == []


def test_a_missing_package_and_another_version_get_a_sentence_each(requirements):
    missing, other = installation_problems(requirements("no-such-package==1.0", "numpy==0.1"))
    assert missing.startswith("no-such-package is missing: run 'pip install -r requirements.txt'")
    assert other.startswith(f"numpy is {metadata.version('numpy')}, the course was saved with 0.1")


def test_what_only_some_machines_need_is_left_out(requirements):
    assert installation_problems(requirements('no-such-package==1.0; sys_platform != "darwin"')) == []


def test_a_single_core_is_enough_but_slow(requirements, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    (problem,) = installation_problems(requirements())
    assert "one processor core" in problem


def test_it_needs_no_package():
    """Or it would stop where it should say what is missing."""
    code = "import lora_lab.checks.lesson_00, sys; print(*sys.modules)"
    alone = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    found = {name.split(".")[0] for name in alone.stdout.split()}
    assert "lora_lab" in found and found - {"lora_lab", "__main__"} <= sys.stdlib_module_names


def test_a_copy_of_the_lessons_alone_knows_what_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(metadata, "version", lambda name: "0")
    found = installation_problems(tmp_path / "no_such_file")
    assert any(problem.startswith("torch is 0, the course was saved with 2.13.0") for problem in found)


def test_the_extra_of_the_package_pins_what_requirements_pins_for_a_reader():
    import tomllib

    for_tests = {"pytest", "pytest-xdist", "hypothesis", "nbval", "ruff", "setuptools"}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        line.replace('"', "'") for line in lines if "==" in line and line.partition("==")[0] not in for_tests
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]["course"]) == pinned


def test_a_container_makes_what_make_makes_and_an_editor_finds_it():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    python = container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == f"${{containerWorkspaceFolder}}/{target.partition('/')[0]}/bin/python"
    minor = int(container["image"].rpartition(".")[2])
    assert minor >= 11, "the course needs Python 3.11"


def test_every_lesson_says_in_a_line_how_to_install_where_lora_lab_is_missing():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        first = next(c for c in read(path).cells if c.cell_type == "code" and "lora_lab" in c.source)
        assert '%pip install "lora_lab[course] @ ADDRESS"' in first.source.splitlines()[0], path.name
