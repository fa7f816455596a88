"""Does the regression run notice a mistake? `make mutants` changes the package in one place after another, an
operator, a number, a condition, as cosmic-ray does it, in a copy of the course. It runs the unit tests of the
changed module, and where they stay green its lessons. What no test notices is printed.

`python tests/mutants.py lora low_rank` takes two modules. A session that was stopped goes on where it was.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from notebook_rules import ROOT

COPY = ROOT / "build" / "mutants"
NOT_COPIED = shutil.ignore_patterns(".*", "build", "node_modules", "__pycache__", "*.egg-info")
SECONDS = 300  # for the tests of one mutant
# The core, with the unit tests and the lessons that are to notice a change.
MODULES = {
    "low_rank": (("low_rank", "properties"), ("01", "02")),
    "lora": (("lora", "properties"), ("05",)),
    "merging": (("merging",), ("06",)),
    "attention": (("attention",), ("08",)),
    "counting": (("counting",), ("09",)),
    "memory": (("memory",), ("04",)),
    "training": (("training",), ("10",)),
    "quantization": (("quantization", "properties"), ("13",)),
    "loftq": (("loftq",), ("14",)),
    "random_subspace": (("random_subspace",), ("11",)),
    "fast_lora": (("fast_lora",), ("06",)),
    "images": (("images", "properties"), ("03",)),
}
CONFIG = """
[cosmic-ray]
module-path = "lora_lab/{module}.py"
timeout = {seconds}
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""


def tests_of(module):
    """The command that is to fail on every mutant of `module`."""
    units, lessons = MODULES[module]
    run = f"{sys.executable} -m pytest -n 0 -x -q -p no:cacheprovider"
    files = " ".join(f"tests/test_{unit}.py" for unit in units)
    notebooks = " ".join(
        str(p.relative_to(ROOT)) for n in lessons for p in ROOT.glob(f"notebooks/{n}_*.ipynb")
    )
    return f"sh -c '{run} {files} && {run} {notebooks}'"


def cosmic_ray(*arguments):
    """Run cosmic-ray in the copy, which its tests import, and return what it prints."""
    command = [str(Path(sys.executable).parent / "cosmic-ray"), *arguments]
    where = {**os.environ, "PYTHONPATH": str(COPY / "course"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=COPY / "course", env=where, check=True, text=True, stdout=-1).stdout


def survivors(module):
    """(how many mutants there are, the ones that no test noticed): each as its line and its difference."""
    config, session = COPY / f"{module}.toml", COPY / f"{module}.sqlite"
    if not session.exists():
        config.write_text(CONFIG.format(module=module, seconds=SECONDS, command=tests_of(module)))
        cosmic_ray("init", str(config), str(session))
    cosmic_ray("exec", str(config), str(session))
    found = [json.loads(line) for line in cosmic_ray("dump", str(session)).splitlines()]
    alive = []
    for work, result in found:
        if result and result["test_outcome"] == "survived":
            start = work["mutations"][0]["start_pos"][0]
            changed = [
                line
                for line in result["diff"].splitlines()
                if line[:1] in "+-" and line[:3] not in ("+++", "---")
            ]
            alive.append(f"line {start}: {' | '.join(changed)}")
    return len(found), alive


def copy_course():
    """A copy of the course to be changed, made anew unless a session is under way."""
    if not (COPY / "course").exists():
        shutil.copytree(ROOT, COPY / "course", ignore=NOT_COPIED)


if __name__ == "__main__":
    copy_course()
    for name in sys.argv[1:] or MODULES:
        total, left = survivors(name)
        print(f"{name}: {total - len(left)} of {total} noticed", *left, sep="\n  ", flush=True)
