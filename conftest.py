"""The environment of every test and of every notebook kernel, and what is compared beside nbval's texts."""

import ast
import functools
import os
import time

import psutil
import pytest

# Set here, before anything else is imported, since the kernels that the tests start inherit it. This file is
# in the root folder and not in tests/, since `pytest notebooks` does not read tests/conftest.py.

# Several tests run at once, and more threads than cores slow them all down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The course works without a network and without a cache: a test that asks for one must fail.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.path.join(os.path.dirname(__file__), ".no_cache")
# Otherwise jupyter_core warns that its folders will move.
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
# nbval does not know that a cell can be cleared, as the progress bar of a training does when it is done.
os.environ["TQDM_DISABLE"] = "1"
# The ticks of whoever runs the tests are neither shown nor added to.
os.environ["LORA_LAB_PROGRESS"] = "off"

SECONDS_PER_QUESTION = 60
# How many times longer than its header says a lesson may take: a computer may be slower.
PATIENCE = float(os.environ.get("LORA_LAB_PATIENCE", 2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """nbval compares the texts of a cell it runs. Here its figures are compared, its sliders moved, its
    checkers tried, and its lesson is timed.
    """
    if not hasattr(item, "test_outputs"):  # not a cell
        return (yield)
    from notebook_rules import differences, streams_joined  # it imports NumPy, which reads OMP_NUM_THREADS

    lesson, start = item.parent, time.monotonic()
    worked = seconds_of_work(lesson)
    saved = streams_joined(item.cell.outputs)  # a copy: nbval joins streams, too, and spoils what it joins
    result = yield
    found = differences(saved, streams_joined(item.test_outputs))
    took = min(time.monotonic() - start, seconds_of_work(lesson) - worked)
    lesson.seconds = getattr(lesson, "seconds", 0) + took
    may_take = PATIENCE * seconds_to_run(lesson.path)
    if lesson.seconds > may_take:
        header = f"{may_take:.0f} s are {PATIENCE:.0f} times what its header says"
        found.append(f"ends {lesson.seconds:.0f} s into its lesson, and {header}")
    found += slider_faults(item) + checker_faults(item)
    if found:
        item.raise_cell_error("\n".join(found))
    return result


@functools.cache
def seconds_to_run(path):
    """The seconds that the header of a notebook says, or the most that it may say."""
    from minutes import SECONDS, said
    from notebook_rules import read

    header = said(read(path))
    return header.seconds if header else SECONDS[-1]


def seconds_of_work(lesson):
    """How long the processors have worked for the kernel of a lesson: less than the clock says if other
    programs want them, too, and more if several work at once.
    """
    used = psutil.Process(lesson.kernel.km.provisioner.pid).cpu_times()
    return used.user + used.system


def slider_faults(cell):
    """Where the `Explorer` that a cell ends with fails when it is moved, in the lesson's own kernel."""
    from notebook_rules import WIDGET

    if not any(WIDGET in output.get("data", {}) for output in cell.test_outputs):
        return []
    return [f"has a slider that cannot draw {fault}" for fault in asked(cell, "_oh[max(_oh)].faults()")]


def checker_faults(cell):
    """Where the checkers of a check cell take wrong answers or refuse its solution: see tests/attempts.py."""
    if "check" not in cell.cell.metadata.get("tags", []):
        return []
    tests = os.path.join(os.path.dirname(__file__), "tests")
    path = f"__import__('pathlib').Path({str(cell.parent.path)!r})"
    ask = f"__import__('attempts').faults({path}, {cell.cell.source!r}, globals())"
    return asked(cell, f"(__import__('sys').path.append({tests!r}), {ask}, __import__('sys').path.pop())[1]")


def asked(cell, expression):
    """The sentences in the list that an expression gives in a cell's kernel, or what stops it."""
    ask = {"silent": True, "user_expressions": {"faults": expression}}
    kernel = cell.parent.kernel.kc
    content = kernel.execute("", **ask, reply=True, timeout=SECONDS_PER_QUESTION)["content"]
    answer = content["user_expressions"]["faults"]
    if answer["status"] != "ok":
        return [f"{answer['ename']}: {answer['evalue']}"]
    return ast.literal_eval(answer["data"]["text/plain"])
