"""`python -m lora_lab [FOLDER]` copies the lessons into a folder of yours and opens them in JupyterLab.

The copy is yours: what is in the folder already is never written over.
"""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent
KINDS = ("notebooks/*.ipynb", "images/figure_*.png")
FIRST = "notebooks/00_start_here.ipynb"


def course_folder():
    """Where the lessons are: inside an installed package, or beside it in the course's own folder."""
    installed = PACKAGE / "course"
    return installed if installed.exists() else PACKAGE.parent


def copy_lessons(folder):
    """Copy each lesson and picture that is not in `folder` yet, and return (copied, kept): how many were, and
    the names of those that are there, are not the course's, and were left as they are. OSError if a file is
    where a folder must be, or if nothing can be written.
    """
    course, copied, kept = course_folder(), 0, []
    for path in (path for kind in KINDS for path in sorted(course.glob(kind))):
        target = folder / path.relative_to(course)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            part = target.with_name(f"{target.name}.part")  # a copy that breaks off must not pass for yours
            shutil.copyfile(path, part)
            part.replace(target)
            copied += 1
        elif target.read_bytes() != path.read_bytes():
            kept.append(target.name)
    return copied, kept


def copy_and_open(arguments=None):
    """Do what the module says, with the words of the command line. SystemExit, one sentence, if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m lora_lab", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", default="lora_course", type=Path, help="default: lora_course")
    parser.add_argument("--only-copy", action="store_true", help="open nothing")
    asked = parser.parse_args(arguments)
    try:
        copied, kept = copy_lessons(asked.folder)
    except OSError as error:
        sys.exit(f"the lessons cannot be copied to {asked.folder}: {error.strerror}; name another folder")
    print(f"{asked.folder}: {copied} files copied" + (", yours left as they are" if kept else ""))
    if kept:
        print(f"not the course's any more, and untouched: {', '.join(kept)}")
    if asked.only_copy:
        return
    if not importlib.util.find_spec("jupyterlab"):
        sys.exit("JupyterLab is missing: run 'pip install jupyterlab', or open the folder in an editor")
    from jupyterlab.labapp import main

    sys.exit(main([str(asked.folder / FIRST)]))


if __name__ == "__main__":
    copy_and_open()
