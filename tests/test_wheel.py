"""Installed from a wheel, away from the checkout, the package works and has all its data."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from notebook_rules import ROOT

NOT_INSTALLED = shutil.ignore_patterns("__pycache__")


def run(code, folder, **environment):
    """What Python prints that runs `code` in `folder`."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which a wheel of the package is unpacked. It is built from a copy: building writes files
    next to its source.
    """
    copy, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("lora_lab", "notebooks", "images"):
        shutil.copytree(ROOT / name, copy / name, ignore=NOT_INSTALLED)
    wheel = run("from setuptools.build_meta import build_wheel; print(build_wheel('.'))", copy)[-1]
    zipfile.ZipFile(copy / wheel).extractall(folder)
    return folder


def files_in(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_no_file_of_the_package_is_missing_and_none_has_changed(installed):
    here = {path for path in files_in(ROOT / "lora_lab") if "__pycache__" not in path.parts}
    assert {path.suffix for path in here} >= {".py", ".json", ".safetensors"}
    there = {path for path in files_in(installed / "lora_lab") if path.parts[0] != "course"}
    assert here == there, "see tool.setuptools in pyproject.toml"
    assert all(
        (ROOT / "lora_lab" / p).read_bytes() == (installed / "lora_lab" / p).read_bytes() for p in here
    )


def test_it_gives_its_reader_the_lessons(installed, tmp_path):
    code = "from lora_lab.__main__ import copy_and_open; copy_and_open(['mine', '--only-copy'])"
    run(code, tmp_path, PYTHONPATH=str(installed))
    for name, kind in (("notebooks", "*.ipynb"), ("images", "figure_*.png")):
        here = {path.name: path.read_bytes() for path in (ROOT / name).glob(kind)}
        assert {path.name: path.read_bytes() for path in (tmp_path / "mine" / name).iterdir()} == here


def test_it_loads_its_model_its_stored_runs_and_its_checkers_from_any_folder(installed, tmp_path):
    runs = sum(path.suffix in (".json", ".safetensors") for path in files_in(ROOT / "lora_lab" / "runs"))
    checks = [path.stem for path in sorted((ROOT / "lora_lab" / "checks").glob("*.py"))]
    checks.remove("__init__")
    assert runs >= 5 and "lesson_00" in checks
    printed = run(IN_USE, tmp_path, PYTHONPATH=str(installed))
    counts = [f"{runs} files", "16 lessons"]
    assert printed == [str(installed / "lora_lab" / "__init__.py"), "loss below 1", *counts, *checks]


IN_USE = """
import importlib, json, pkgutil
import torch
from safetensors.torch import load_file

import lora_lab, lora_lab.checks
from lora_lab.checks.__main__ import LESSONS
from lora_lab.gpt2 import load_gpt2, load_tokenizer
from lora_lab.runs import DATA

print(lora_lab.__file__)
tokenizer = load_tokenizer()
text = tokenizer.eos_token + "Once upon a time there was a child called Mia."
ids = torch.tensor([tokenizer(text).input_ids])
print("loss below 1" if load_gpt2()(ids, labels=ids).loss < 1 else "not the shipped model")
read = [json.loads(path.read_bytes()) for path in DATA.rglob("*.json")]
read += [load_file(path) for path in DATA.rglob("*.safetensors")]
print(sum(map(bool, read)), "files")
print(len(list(LESSONS.glob("*.ipynb"))), "lessons")
for module in pkgutil.iter_modules(lora_lab.checks.__path__):
    importlib.import_module(f"lora_lab.checks.{module.name}")
    print(module.name)
"""
