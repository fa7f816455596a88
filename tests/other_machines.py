"""Does the course run the same elsewhere? `make machines` clones it, and runs its lessons or the whole suite
as if on other machines: with more threads, without the newer instructions of this processor, in another
place, language and hour, without what a machine may lack. It needs Linux, and prints a table for
docs/trust.md.

`python tests/other_machines.py read-only "2 threads"` takes two of them. Logs go to build/machines.
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

    environment: dict = field(default_factory=dict)
    what: list = field(default_factory=list)  # pytest's arguments, all tests without any
    namespace: str = ""  # of `unshare`, which needs no rights
    first: str = ""  # what a shell does in it
    folder: str = "course"


def threads(number):
    """All lessons in one process after another, each with so many threads."""
    return Machine({"OMP_NUM_THREADS": str(number), "OMP_WAIT_POLICY": "PASSIVE"}, ["-n1", *LESSONS])


def instructions(torch, onednn, numpy_without, openblas):
    """All lessons with these instructions, and what comes before them."""
    names = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE"
    return Machine(dict(zip(names, (torch, onednn, numpy_without, openblas), strict=True)), LESSONS)


MACHINES = {
    "1 thread": Machine({}, LESSONS),
    "2 threads": threads(2),
    "4 threads": threads(4),
    "AVX2": instructions("avx2", "AVX2", "X86_V4 AVX512_ICL", "Haswell"),
    "SSE4": instructions("default", "SSE41", "X86_V3 X86_V4 AVX512_ICL", "Nehalem"),
    "lessons in another order": Machine({}, random.Random(0).sample(LESSONS, len(LESSONS))),
    "a folder with spaces and accents": Machine(folder="Kürs über LoRA, 2. Überarbeitung"),
    "read-only": Machine(
        {"PYTHONDONTWRITEBYTECODE": "1"},
        ["-pno:cacheprovider"],
        namespace="--mount",
        first='mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && ! touch x',
    ),
    "no home": Machine({"HOME": "/dev/null/home"}),
    "ASCII, hours away": Machine(
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "AWAY-13:45"}
    ),
    "Turkish": Machine({"LC_ALL": TURKISH, "LOCPATH": str(FOLDER / "locales")}),
    # Kernels are spoken to by the loop-back, which is the one interface.
    "no network": Machine(namespace="--net", first="ip link set lo up"),
}


def run_on(name):
    """(whether all is green, the last line that pytest prints, seconds)."""
    machine, began = MACHINES[name], time.monotonic()
    course = FOLDER / machine.folder
    subprocess.run(["rm", "-rf", course], check=True)
    subprocess.run(["git", "clone", "-q", ROOT, course], check=True)
    command = shlex.join([sys.executable, "-m", "pytest", *machine.what])
    if machine.first:
        command = f"{machine.first} && {command}"
    if machine.namespace:
        command = shlex.join(["unshare", "--map-root-user", machine.namespace, "sh", "-c", command])
    log = FOLDER / f"{name}.log"
    with log.open("wb") as file:
        there = {**os.environ, "PYTHONPATH": str(course), **machine.environment}
        code = subprocess.run(command, shell=True, cwd=course, env=there, stdout=file, stderr=file).returncode
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return code == 0, *last, time.monotonic() - began


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(MACHINES):
        sys.exit(f"no such machine: {sorted(unknown)}; there are {list(MACHINES)}")
    locale = FOLDER / "locales" / TURKISH
    locale.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", locale], check=False)
    print("| machine | what ran | result |", "|---|---|---|", sep="\n")
    results = []
    for name in sys.argv[1:] or MACHINES:
        green, said, seconds = run_on(name)
        what = "lessons" if MACHINES[name].what else "all tests"
        print(f"| {name} | {what} | {'green' if green else 'RED'}: {said}, {seconds:.0f} s |", flush=True)
        results.append(green)
    sys.exit(not all(results))
