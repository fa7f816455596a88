"""Does the regression run notice a mistake in a lesson? In each code cell that prints or draws, places are
changed one at a time: as cosmic-ray changes them (see mutants.py), or one name for another. One of them is in
the last statement that computes. The lesson is then to fail or to show something else than what was saved, in
that cell or further down. What nobody notices is printed.

A lesson runs once, in a process, and each mutant is a fork of it that goes on with a changed cell. Results
go to build/mutants, and a run that was stopped goes on where it was.

`python tests/lesson_mutants.py 05 11 --sample 5` takes two lessons, and up to five mutants of a cell.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib
import io
import json
import math
import multiprocessing
import os
import random
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import conftest  # noqa: F401 - the environment of a lesson, before NumPy reads it

os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as in a kernel
import psutil
from IPython.core.interactiveshell import InteractiveShell
from mutants import RESULTS, ROOT, SLOW, WORKERS, mutants_of
from nbformat.v4 import new_output
from notebook_rules import NOTEBOOKS, WIDGET, cells, differences, only_imports, read, streams_joined, tags

FORK = multiprocessing.get_context("fork")
# Where the words of a figure stand and how large things are is not compared; `strict` changes no result.
LOOKS = {"at", "dx", "dy", "ha", "va", "size", "fontsize", "color", "alpha", "zorder", "left", "right", "top"}
LOOKS |= {"bottom", "xlim", "ylim", "linewidth", "linestyle", "marker", "markersize", "shrinkA", "shrinkB"}
LOOKS |= {"note", "subplots_adjust", "locator_params", "simplefilter", "strict"}
FIGURE = {"fig", "ax", "axes"}


class Stream(io.TextIOBase):
    """Keeps what is printed, as outputs of a cell."""

    def __init__(self, name, outputs):
        self.stream, self.outputs = name, outputs

    def write(self, text):
        """Called by `print`."""
        self.outputs.append(new_output("stream", name=self.stream, text=text))


class Lesson:
    """A notebook whose code cells run in this process."""

    def __init__(self, path):
        os.chdir(path.parent)
        self.cells = [cell for _, cell in cells(read(path), "code")]
        self.shell = InteractiveShell.instance()
        self.shell.history_manager.enabled = False  # it is a thread
        self.shell.display_trap.hook, self.shell.display_pub.publish = self.keep_result, self.keep_shown

    def keep_result(self, result):
        """Called with what the last line of a cell gives. Sliders are moved, as conftest.py moves them."""
        if result is not None:
            data, metadata = self.shell.display_formatter.format(result)
            self.outputs.append(new_output("execute_result", data, metadata=metadata))
            if WIDGET in data and (faults := result.faults()):
                raise ValueError(f"a slider cannot draw {faults}")

    def keep_shown(self, data, metadata=None, **_):
        """Called by `display`."""
        self.outputs.append(new_output("display_data", data, metadata=metadata or {}))

    def fault(self, number, source=None):
        """What is wrong when a cell, or another source of it, is run; empty if it shows what was saved."""
        self.outputs = []
        with (
            contextlib.redirect_stdout(Stream("stdout", self.outputs)),
            contextlib.redirect_stderr(Stream("stderr", self.outputs)),
        ):
            run = self.shell.run_cell(source or self.cells[number].source)
        if not run.success:
            return f"raises {type(run.error_before_exec or run.error_in_exec).__name__}"
        return "\n".join(differences(*map(streams_joined, (self.cells[number].outputs, self.outputs))))

    def seconds(self):
        """How long each cell works. Fails if a cell does not show what was saved."""
        times = []
        for number, cell in enumerate(self.cells):
            began = time.process_time()
            fault = self.fault(number)
            assert not fault, f"{cell.id} {fault}"
            times.append(time.process_time() - began)
        return times

    def noticed(self, number, source):
        """Which cell notices that one has another source, and how; or "nobody"."""
        for below in range(number, len(self.cells)):
            if fault := self.fault(below, source if below == number else None):
                how = fault if fault.startswith("raises") else "shows something else"
                return f"{'itself' if below == number else self.cells[below].id} {how}"
        return "nobody"


def mutants(cell, namespace, most):
    """(line, change, changed source) for up to `most` places of a cell that finds these names, the first of
    them in the last statement that can be changed.
    """
    nodes = list(ast.walk(ast.parse(cell.source)))
    left_out = [node for node in nodes if only_asserts(node) or called(node) in LOOKS]
    begins = [(node.lineno, node.col_offset) for node in nodes if isinstance(node, ast.stmt)]
    found = [
        (max([begin for begin in begins if begin <= place], default=place), place[0], change, source)
        for place, change, source in (*mutants_of(cell.source), *other_names(cell.source, namespace))
        if not any(holds(node, place) for node in left_out)
    ]
    draw, last = random.Random(cell.id), max((begin for begin, *_ in found), default=None)
    draw.shuffle(found)
    found.sort(key=lambda mutant: mutant[0] != last)
    return [mutant[1:] for mutant in found[:1] + draw.sample(found[1:], min(len(found[1:]), most - 1))]


def other_names(source, namespace):
    """Mutants that compute with another name: of a value of the same type, or of those bound above."""
    nodes = list(ast.walk(tree := ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name) and node.id not in FIGURE]
    bound = {node.arg: node.lineno for node in nodes if isinstance(node, ast.arg)}
    bound = {node.id: node.lineno for node in names[::-1] if isinstance(node.ctx, ast.Store)} | bound
    modules = {name for name, value in namespace.items() if isinstance(value, types.ModuleType)}
    kinds = {name: type(namespace[name]) for name in namespace if name[0] != "_" and name not in modules}
    not_computed = [node.value for node in nodes if isinstance(node, ast.FormattedValue)]
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        not_computed += [call.func, *(call.args if called(call) == "print" else ())]
    draw = random.Random(source)
    for node in (name for name in names if isinstance(name.ctx, ast.Load) and name not in not_computed):
        old, above = node.id, {name for name, line in bound.items() if line < node.lineno}
        like = above if old in bound else {name for name, kind in kinds.items() if kind is kinds.get(old)}
        if others := sorted(like - {old, *FIGURE}):
            node.id = draw.choice(others)
            change = f"{source.splitlines()[node.lineno - 1].strip()} with {node.id} for {old}"
            yield (node.lineno, node.col_offset), change, ast.unparse(tree)
            node.id = old


def only_asserts(node):
    """Whether a node is an assert, or a loop over nothing but asserts, which fewer turns cannot make fail."""
    return isinstance(node, ast.Assert) or (isinstance(node, ast.For) and all(map(only_asserts, node.body)))


def called(node):
    """The name of a keyword argument, or of the function of a call."""
    function = getattr(node, "func", None)
    return getattr(function, "id", getattr(function, "attr", isinstance(node, ast.keyword) and node.arg))


def holds(node, place):
    """Whether a place lies in the source of a node."""
    return (node.lineno, node.col_offset) <= place < (node.end_lineno, node.end_col_offset)


def in_fork(work, seconds=math.inf):
    """What `work` gives in a fork of this process, "dies", or "hangs" after so many seconds of the processor
    or ten times as many of the clock.
    """
    here, there = FORK.Pipe(duplex=False)
    child, began = FORK.Process(target=lambda: there.send(work())), time.monotonic()
    child.start()
    there.close()
    try:
        while not here.poll(1):
            if max(psutil.Process(child.pid).cpu_times().user, (time.monotonic() - began) / 10) > seconds:
                return "hangs"
        return here.recv()
    except EOFError:
        return "dies"
    finally:
        child.kill()
        child.join()


def tried(path, asked):
    """Who noticed each mutant of a lesson."""
    store = RESULTS / f"lesson_{path.stem[:2]}.json"
    of = hashlib.sha256(f"{asked.sample} {asked.silent}".encode())
    for file in (path, *sorted((ROOT / "lora_lab").rglob("*.py"))):
        of.update(file.read_bytes())
    known = {"of": of.hexdigest(), "cells": 0, "noticed": {}, "ended": False}
    if store.exists() and (found := json.loads(store.read_text()))["of"] == known["of"]:
        if found["ended"]:
            return found
        known["noticed"] = found["noticed"]
    lesson = Lesson(path)
    seconds = in_fork(lesson.seconds)
    assert isinstance(seconds, list), f"{path.stem} does not show what was saved without any change"
    for number, cell in enumerate(lesson.cells):
        computes = not (only_imports(cell) or {"exercise", "check"} & set(tags(cell)))
        to_change = computes and bool(cell.outputs or asked.silent)
        known["cells"] += to_change
        for line, change, source in mutants(cell, lesson.shell.user_ns, asked.sample) if to_change else ():
            key = f"{cell.id}, line {line}: {change}"
            if key not in known["noticed"]:
                work = functools.partial(lesson.noticed, number, source)
                known["noticed"][key] = in_fork(work, 30 + 3 * sum(seconds[number:]))
                store.write_text(json.dumps(known, indent=1))
        assert not lesson.fault(number), f"{cell.id} does not show what was saved, after forks"
    known["ended"] = True
    store.write_text(json.dumps(known, indent=1))
    return known


def report(name, known):
    """Print what a lesson noticed, and each mutant that nobody noticed."""
    by = known["noticed"]
    left = [f"  {key}" for key, who in by.items() if who == "nobody"]
    changed, raised = len({key.split(",")[0] for key in by}), sum("raises" in who for who in by.values())
    said = f"{len(by) - len(left)} of {len(by)} mutants noticed, {raised} of them by an error"
    print(f"{name}: {changed} of {known['cells']} cells changed; {said}", *left, sep="\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=3, help="mutants of a cell")
    parser.add_argument("--silent", action="store_true", help="change cells, too, that print nothing")
    parser.add_argument("lessons", nargs="*", help="their numbers, such as 05")
    asked = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for slow in SLOW.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(slow)
    paths = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if not asked.lessons or p.stem[:2] in asked.lessons]
    with ThreadPoolExecutor(WORKERS) as pool:
        works = [functools.partial(tried, path, asked) for path in paths]
        for path, known in zip(paths, pool.map(in_fork, works), strict=True):
            report(path.stem, known) if isinstance(known, dict) else print(
                f"{path.stem}: {known}", flush=True
            )
