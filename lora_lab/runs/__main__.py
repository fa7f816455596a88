"""`python -m lora_lab.runs` makes all stored runs again, `python -m lora_lab.runs choosing` one topic's."""

import os
import platform
import re
import sys
import time
from pathlib import Path

from lora_lab.runs import write_runs
from lora_lab.runs.choosing import choosing_runs
from lora_lab.runs.facts import facts_runs
from lora_lab.runs.fine_tuning import fine_tuning_runs
from lora_lab.runs.qlora import qlora_runs
from lora_lab.runs.why_low_rank import why_low_rank_runs

MAKE = {
    "fine_tuning": fine_tuning_runs,
    "why_low_rank": why_low_rank_runs,
    "choosing": choosing_runs,
    "facts": facts_runs,
    "qlora": qlora_runs,
}


def make_runs(topics):
    """Make the runs of `topics`, or of all if there are none; write each topic's when all of them are done,
    and say how long they took on which processor. SystemExit with a sentence if there is no such topic.
    """
    unknown = [topic for topic in topics if topic not in MAKE]
    if unknown:
        sys.exit(f"there are no runs of {', '.join(unknown)}: the topics are {', '.join(MAKE)}")
    for topic in topics or MAKE:
        began = time.perf_counter()
        write_runs(topic, MAKE[topic]())
        minutes = (time.perf_counter() - began) / 60
        print(f"{topic}: {minutes:.1f} minutes on {os.cpu_count()} cores of {processor()}", flush=True)


def processor():
    """The name of this machine's processor, as far as the system tells it."""
    linux = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", linux.read_text()) if linux.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


if __name__ == "__main__":
    make_runs(sys.argv[1:])
