"""The environment of every test and of every notebook kernel, and what is compared beside nbval's texts."""

import ast
import os
import time

import pytest

# Set here, before anything else is imported, since the kernels that the tests start inherit it. This file is
# in the root folder and not in tests/, since `pytest notebooks` does not read tests/conftest.py.

# Several tests run at once, and more threads than cores slow them all down.
os.environ["OMP_NUM_THREADS"] = "1"
# The course works without a network and without a cache: a test that asks for one must fail.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = os.path.join(os.path.dirname(__file__), ".no_cache")
# Otherwise jupyter_core warns that its folders will move.
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
# nbval does not know that a cell can be cleared, as the progress bar of a training does when it is done.
os.environ["TQDM_DISABLE"] = "1"

SECONDS_PER_NOTEBOOK = 300  # half as much is usual; a processor without vector instructions needs more
SECONDS_PER_SLIDER = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """nbval compares the texts of a cell it runs. Here its figures are compared, its sliders moved, and its
    lesson is timed.
    """
    if not hasattr(item, "test_outputs"):  # not a cell
        return (yield)
    from notebook_rules import differences, streams_joined  # it imports NumPy, which reads OMP_NUM_THREADS

    lesson, start = item.parent, time.monotonic()
    saved = streams_joined(item.cell.outputs)  # a copy: nbval joins streams, too, and spoils what it joins
    result = yield
    found = differences(saved, streams_joined(item.test_outputs)) + slider_faults(item)
    lesson.seconds = getattr(lesson, "seconds", 0) + time.monotonic() - start
    if lesson.seconds > SECONDS_PER_NOTEBOOK:
        found.append(f"ends {lesson.seconds:.0f} s into its lesson, which may take {SECONDS_PER_NOTEBOOK} s")
    if found:
        item.raise_cell_error("\n".join(found))
    return result


def slider_faults(cell):
    """Where the `Explorer` that a cell ends with fails when it is moved, in the lesson's own kernel."""
    from notebook_rules import WIDGET

    if not any(WIDGET in output.get("data", {}) for output in cell.test_outputs):
        return []
    ask = {"silent": True, "user_expressions": {"faults": "'; '.join(_.faults())"}}  # leaves no trace
    kernel = cell.parent.kernel.kc
    content = kernel.execute("", **ask, reply=True, timeout=SECONDS_PER_SLIDER)["content"]
    answer = content["user_expressions"]["faults"]
    if answer["status"] != "ok":
        return [f"ends with something whose sliders cannot be moved: {answer['ename']}: {answer['evalue']}"]
    faults = ast.literal_eval(answer["data"]["text/plain"])
    return [f"has a slider that cannot draw {faults}"] if faults else []
