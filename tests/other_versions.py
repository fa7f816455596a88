"""The whole suite with other versions: `python tests/other_versions.py lowest` takes the lowest that
pyproject.toml states for what the package and the lessons need, `newest` the newest that pip finds. Each has
an environment of its own in build/, made anew. What tests with, as pytest, is as in requirements.txt.

Two things are meant to differ there: lesson 00 says which versions are not those of the course, and another
matplotlib sets letters otherwise, so the diagrams have other pixels.
"""

import os
import re
import subprocess
import sys
import tomllib
import venv

from notebook_rules import ROOT

TOOLS = "pytest", "pytest-xdist", "hypothesis", "nbval", "ruff", "setuptools"
DIFFERENT = [
    "--deselect=notebooks/00_start_here.ipynb::Cell 2",
    "--deselect=tests/test_diagrams.py::test_a_diagram_is_what_its_function_draws",
]


def wanted(which):
    """What pip is to install: "numpy==2.0.0" of "numpy>=2.0.0" for "lowest", "numpy" for "newest"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = project["dependencies"] + project["optional-dependencies"]["lessons"]
    if which == "lowest":
        return [requirement.replace(">=", "==") for requirement in stated]
    return [re.sub(r">=[\d.]+", "", requirement) for requirement in stated]


def tools():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.split("==")[0] in TOOLS]


def test_with(which, arguments):
    folder = ROOT / "build" / which
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted(which), *tools(), "-e", ROOT], check=True)
    subprocess.run([python, "-m", "pip", "list"], check=True)
    patient = {**os.environ, "LORA_LAB_PATIENCE": "4"}  # another version may be slower
    return subprocess.run([python, "-m", "pytest", *DIFFERENT, *arguments], cwd=ROOT, env=patient).returncode


if __name__ == "__main__":
    if sys.argv[1:2] not in (["lowest"], ["newest"]):
        sys.exit("lowest or newest?")
    sys.exit(test_with(sys.argv[1], sys.argv[2:]))
