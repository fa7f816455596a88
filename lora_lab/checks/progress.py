"""What a learner has solved: the names of checkers in one small file beside the lessons, which nobody else
reads. Lesson 00 draws it (see `course`). It holds nothing else, so deleting it unticks all and loses no more.
"""

import contextlib
import json
import os
import time
from pathlib import Path

SECONDS_TO_WRITE = 5  # far more than a writer needs: who holds the file longer was stopped


def progress_file():
    """The file's path, or None where nothing is ticked: if LORA_LAB_PROGRESS is "off", as in tests and in
    grading, which solve exercises that no reader has solved; and in a folder without lesson 00, where nobody
    would see a tick.
    """
    beside = Path("00_start_here.ipynb").exists()
    return Path("progress.json") if beside and os.environ.get("LORA_LAB_PROGRESS") != "off" else None


def solved(path):
    """The names of the checkers that found an answer correct, in the order of solving; [] without a file.
    ValueError, one sentence, if the file is damaged.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["solved"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(
            f"{path.name} is damaged, so nothing is ticked: delete it to start afresh."
        ) from None
    return names


def note_solved(check):
    """Tick a lesson's checker, and say what hinders it: one sentence if the file is damaged, which is left as
    it is, and nothing if the folder cannot be written to. An answer is right either way.
    """
    path = progress_file()
    if path is None or not check.__module__.startswith("lora_lab.checks.lesson_"):
        return ""
    try:
        if check.__name__ not in solved(path):
            with only_writer(path) as file:
                # Read again, since another lesson may have written while this one waited.
                names = dict.fromkeys([*solved(path), check.__name__])
                json.dump({"solved": list(names)}, file, indent=1)
    except ValueError as damaged:
        return str(damaged)
    except OSError:
        pass
    return ""


@contextlib.contextmanager
def only_writer(path):
    """A file to write, which takes the place of `path` at once when the block ends. It is its own lock: only
    one process can create it, and the others wait. OSError if it cannot be written.
    """
    part = path.with_suffix(".part")
    deadline = time.monotonic() + 2 * SECONDS_TO_WRITE
    while True:
        try:
            file = part.open("x", encoding="utf-8")
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise
        with contextlib.suppress(FileNotFoundError):  # the other one is done
            if time.time() - part.stat().st_mtime > SECONDS_TO_WRITE:
                part.unlink()
        time.sleep(0.01)
    try:
        with file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
