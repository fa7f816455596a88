"""Does the course run the same elsewhere? `make machines` clones it, and runs its lessons or the whole suite
as if on other machines: with more threads, without the newer instructions of this processor, in another
place, language and hour, without what a machine may lack. It needs Linux, and prints a table for
docs/trust.md. What can be strange at the same time is so on one machine: if it is green, all of it is.

`python tests/other_machines.py bare "2 threads"` takes two of them. Logs go to build/machines.
"""

import os
import random
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field

from notebook_rules import NOTEBOOKS, ROOT

FOLDER = ROOT / "build" / "machines"
TURKISH = "tr_TR.UTF-8"  # where the small letter of I is no i, and decimals have a comma
LESSONS = [f"notebooks/{path.name}" for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


@dataclass
class Machine:
    """What differs there from here."""

    note: str = ""
    environment: dict = field(default_factory=dict)
    what: list = field(default_factory=lambda: [*LESSONS, "tests"])  # pytest's arguments
    namespaces: str = ""  # of `unshare`, which needs no rights
    first: str = ""  # what a shell does in them
    folder: str = "course"


def threads(number):
    """All lessons in one process after another, each with so many threads."""
    environment = {"OMP_NUM_THREADS": str(number), "OMP_WAIT_POLICY": "PASSIVE"}
    return Machine("", environment, ["-n1", *LESSONS])


def instructions(note, torch, onednn, numpy_without, openblas):
    """All lessons with these instructions, and what comes before them."""
    names = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE"
    return Machine(note, dict(zip(names, (torch, onednn, numpy_without, openblas), strict=True)), LESSONS)


MACHINES = {
    "2 threads": threads(2),
    "4 threads": threads(4),
    "AVX2": instructions("no AVX512", "avx2", "AVX2", "X86_V4 AVX512_ICL", "Haswell"),
    "SSE4": instructions("no AVX", "default", "SSE41", "X86_V3 X86_V4 AVX512_ICL", "Nehalem"),
    "abroad": Machine(
        "Turkish, 13:45 hours away, a folder with spaces and accents, lessons in another order",
        {"LC_ALL": TURKISH, "LOCPATH": str(FOLDER / "locales"), "TZ": "AWAY-13:45"},
        [*random.Random(0).sample(LESSONS, len(LESSONS)), "tests"],
        folder="Kürs über LoRA, 2. Überarbeitung",
    ),
    "bare": Machine(
        "no network, a course that cannot be written to, no home, ASCII alone",
        {"HOME": "/dev/null/home", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        | {"PYTHONDONTWRITEBYTECODE": "1"},
        ["-pno:cacheprovider", *LESSONS, "tests"],
        "--net --mount",
        # Kernels are spoken to by the loop-back, so it is the one interface that is left.
        "ip link set lo up && mount --bind . . && mount -o remount,bind,ro . && cd $PWD && ! touch x",
    ),
}


def asked_for(names):
    """These machines, or all; the program ends at a name that is none."""
    if unknown := set(names) - set(MACHINES):
        sys.exit(f"no such machine: {sorted(unknown)}; there are {list(MACHINES)}")
    return names or list(MACHINES)


def run_on(name):
    """(whether all is green, the last line that pytest prints, seconds)."""
    machine, began = MACHINES[name], time.monotonic()
    course = FOLDER / machine.folder
    subprocess.run(["rm", "-rf", course], check=True)
    subprocess.run(["git", "clone", "-q", ROOT, course], check=True)
    command = shlex.join([sys.executable, "-m", "pytest", *machine.what])
    if machine.first:
        command = f"{machine.first} && {command}"
    if machine.namespaces:
        command = f"unshare --map-root-user {machine.namespaces} sh -c {shlex.quote(command)}"
    log = FOLDER / f"{name}.log"
    with log.open("wb") as file:
        there = {**os.environ, "PYTHONPATH": str(course), "LORA_LAB_PATIENCE": "20", **machine.environment}
        code = subprocess.run(command, shell=True, cwd=course, env=there, stdout=file, stderr=file).returncode
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return code == 0, *last, time.monotonic() - began


if __name__ == "__main__":
    chosen = asked_for(sys.argv[1:])
    locale = FOLDER / "locales" / TURKISH
    locale.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", locale], check=False)
    print("| machine | what ran | result |", "|---|---|---|", sep="\n")
    results = []
    for name in chosen:
        green, said, seconds = run_on(name)
        machine = MACHINES[name]
        title = f"{name}: {machine.note}" if machine.note else name
        what = "all tests" if "tests" in machine.what else "lessons"
        print(f"| {title} | {what} | {'green' if green else 'RED'}: {said}, {seconds:.0f} s |", flush=True)
        results.append(green)
    sys.exit(not all(results))
