"""The commands that test the course in other ways do what they say."""

import importlib
import subprocess
import sys
import tomllib

import mutants
import other_machines
import other_versions
import pytest
from notebook_rules import ROOT
from packaging.requirements import Requirement

TESTS = ROOT / "tests"
HOLDS = "import planted_module\n\ndef test_it():\n    assert planted_module.ANSWER == 42\n"
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="a mutant is a fork")


def test_the_lowest_versions_are_pinned_and_the_newest_are_free():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["lessons"]]
    lowest, newest = other_versions.wanted("lowest"), other_versions.wanted("newest")
    for line, low, new in zip(stated, lowest, newest, strict=True):
        (bound,) = Requirement(line).specifier
        assert bound.operator == ">=" and str(Requirement(low).specifier) == f"=={bound.version}"
        assert not Requirement(new).specifier and Requirement(new).name == Requirement(line).name


def test_what_is_pinned_for_readers_is_within_the_stated_bounds():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {one.name: one for one in map(Requirement, (li for li in lines if li and li[0] not in "#-"))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["lessons"]]:
        stated = Requirement(line)
        (pin,) = pinned[stated.name].specifier
        assert stated.specifier.contains(pin.version), line


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of a module, and that of a test that it passes."""
    path, test = tmp_path / "planted_module.py", tmp_path / "test_planted.py"
    path.write_text("ANSWER = 42\n")
    test.write_text(HOLDS)
    monkeypatch.syspath_prepend(tmp_path)
    yield path, test
    sys.modules.pop("planted_module", None)


def test_import_finds_the_mutant_and_no_file_changes(module, monkeypatch):
    path, _ = module
    finder = mutants.MutantFinder("planted_module", str(path), "ANSWER = 43\n")
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert importlib.import_module("planted_module").ANSWER == 43
    assert path.read_text() == "ANSWER = 42\n"


@needs_fork
@pytest.mark.parametrize(("source", "green"), [("ANSWER = 42\n", True), ("ANSWER = 43\n", False)])
def test_a_mutant_is_noticed_by_a_test_that_fails_with_it(source, green, module):
    path, test = module
    assert mutants.stays_green("planted_module", path, source, [str(test)], 60) is green


@needs_fork
def test_a_mutant_that_hangs_is_noticed(module):
    path, test = module
    assert not mutants.stays_green("planted_module", path, "while True:\n    pass\n", [str(test)], 3)


def test_another_process_finds_the_mutant_too(module):
    path, _ = module
    with mutants.place_for("planted_module", path, "ANSWER = 43\n") as where:
        code = [sys.executable, "-c", "import planted_module; print(planted_module.ANSWER)"]
        assert subprocess.run(code, env=where, cwd=path.parent, capture_output=True).stdout.strip() == b"43"


def test_every_module_of_the_core_has_its_unit_tests_and_lessons():
    core = {path.stem for path in (ROOT / "lora_lab").glob("*.py")} - {"__init__", "__main__"}
    rooms = {path.parent.name for path in (ROOT / "lora_lab").glob("*/__init__.py")}
    assert mutants.MODULES.keys() == core and mutants.SAMPLED.keys() == rooms - {"pages"}
    for units, lessons in (mutants.MODULES | mutants.SAMPLED).values():
        assert all((TESTS / f"test_{unit}.py").is_file() for unit in units)
        assert all(list(ROOT.glob(f"notebooks/{lesson}_*.ipynb")) for lesson in lessons)


def test_machines_run_every_lesson_and_an_unknown_one_is_refused():
    for machine in other_machines.MACHINES.values():
        assert sorted(set(machine.what) & set(other_machines.LESSONS)) == other_machines.LESSONS
    assert len(other_machines.LESSONS) == 16
    assert other_machines.asked_for(["bare"]) == ["bare"] and len(other_machines.asked_for([])) == 6
    with pytest.raises(SystemExit, match=r"no such machine: \['martian'\]; there are \['2 threads', "):
        other_machines.asked_for(["bare", "martian"])
