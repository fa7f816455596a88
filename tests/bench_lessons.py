"""How long a reader and a maintainer wait: `make bench` runs each lesson alone, on all cores, and the parts
of `make test`, and prints tables for docs/speed.md.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime

from notebook_rules import NOTEBOOKS, ROOT, cells, read, run_again

PARTS = {
    "style": ["-m", "ruff", "check", "."],
    "lessons": ["-m", "pytest", "notebooks"],
    "tests": ["-m", "pytest", "tests"],
}


def when(cell, moment):
    """The time at which a kernel was busy or idle with a cell."""
    return datetime.fromisoformat(cell.metadata["execution"][f"iopub.status.{moment}"])


def seconds_of(lesson):
    """Seconds until a new kernel has imported the package, until the lesson has ended, and those of the
    slowest cell; and which code cell that is, from 1.
    """
    began = datetime.now(UTC)
    run = [cell for _, cell in cells(run_again(lesson), "code")]
    imports = next(cell for cell in run if "from lora_lab" in cell.source)
    took = {
        number: (when(cell, "idle") - when(cell, "busy")).total_seconds()
        for number, cell in enumerate(run, 1)
    }
    slowest = max(took, key=took.get)
    ends = [(when(cell, "idle") - began).total_seconds() for cell in (imports, run[-1])]
    return *ends, took[slowest], slowest


if __name__ == "__main__":
    print("\n| lesson | imported after, s | ended after, s | slowest cell, s |\n|---|---|---|---|")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        imported, ended, longest, which = seconds_of(read(path))
        print(f"| {path.stem} | {imported:.1f} | {ended:.0f} | {longest:.1f} (`[{which}]`) |", flush=True)
    print("\n| part of `make test` | minutes |\n|---|---|")
    for part, command in PARTS.items():
        began = time.monotonic()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
        took = time.monotonic() - began
        print(f"| {part} | {took // 60:.0f}:{took % 60:02.0f} |", flush=True)
