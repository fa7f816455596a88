"""How long a reader waits: `make bench` moves every slider of the lessons through its positions, in a kernel,
and prints how long the drawing takes. A move should take less than a tenth of a second.
"""

import copy

from nbformat.v4 import new_code_cell
from notebook_rules import NOTEBOOKS, WIDGET, read, run_again

MEASURE = """
import time
from statistics import median

explorer = _oh[max(_oh)]  # a lesson may assign _
for name, slider in explorer.sliders.items():
    waits, work = [], []
    for position in [*range(1, len(slider.options)), 0]:
        start, busy = time.perf_counter(), time.process_time()
        slider.index = position
        waits.append(1000 * (time.perf_counter() - start))
        work.append(1000 * (time.process_time() - busy))
    print(f"slider {name}, {len(waits)} moves: median {median(waits):.0f} ms, longest {max(waits):.0f} ms;",
          f"of the processor's time {median(work):.0f} ms")
"""


def sliders(notebook):
    """The numbers of the cells that show sliders."""
    for number, cell in enumerate(notebook.cells):
        if any(WIDGET in output.get("data", {}) for output in cell.get("outputs", [])):
            yield number


def waits(notebook, number):
    """What MEASURE prints after a run of the notebook up to a slider."""
    part = copy.deepcopy(notebook)
    part.cells = [*part.cells[: number + 1], new_code_cell(MEASURE)]
    return run_again(part).cells[-1].outputs[0].text


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for number in sliders(read(path)):
            print(f"{path.stem}, cell {number}, {waits(read(path), number)}", end="")
