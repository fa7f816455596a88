"""A kernel in which a learner's notebook runs: in a copy of the course, with limits of time and memory. It is
no sandbox: the notebook may do all that whoever runs it may do.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync

import lora_lab

SECONDS_TO_OBEY = 5  # for an interrupt
MOST_CHARACTERS = 100_000  # of the outputs of a cell


class Limits(NamedTuple):
    """`seconds` for each cell and each check, `together` for a notebook, `megabytes` of memory."""

    seconds: float = 120
    together: float = 1200
    megabytes: float = 4_000


class Halted(Exception):
    """A cell was interrupted; the text says why."""


class KernelLost(Halted):
    """And took its kernel with it."""


class Client(NotebookClient):
    """nbclient, without what a cell shows: its errors and the begin of what it prints are enough."""

    def output(self, outs, msg, display_id, cell_index):
        """Keep an output, or drop it."""
        if msg["msg_type"] == "error" or (
            msg["msg_type"] == "stream" and sum(len(out.get("text", "")) for out in outs) < MOST_CHARACTERS
        ):
            super().output(outs, msg, display_id, cell_index)


class Kernel:
    """A running kernel; see `fresh_kernel`."""

    def __init__(self, client):
        self.client, self.reason, self.asked_to_end = client, "ended its kernel", False
        client.on_cell_executed = self.look_at_reply

    def run(self, source, seconds):
        """What a cell prints, and what stopped it: (text, "") or ("", "stopped with ..."). Halted if it took
        more than `seconds`.
        """
        cell = nbformat.v4.new_code_cell(source)
        self.client.nb.cells, self.client.timeout = [cell], max(1, round(seconds))
        try:
            self.client.execute_cell(cell, 0)
        except CellTimeoutError:
            seconds = self.client.timeout
            self.interrupt(seconds)
            raise Halted(f"was stopped after {seconds} seconds") from None
        except DeadKernelError:
            raise KernelLost(self.reason) from None
        if self.asked_to_end:
            raise KernelLost(self.reason)
        for output in cell.outputs:
            if output.output_type == "error":
                return "", f"stopped with {output.ename}: {output.evalue}"
        return "".join(output.text for output in cell.outputs if output.name == "stdout"), ""

    def look_at_reply(self, cell, cell_index, execute_reply):
        """See whether a cell has called `exit()`, which ends a kernel only after its answer."""
        payload = execute_reply["content"].get("payload", [])
        self.asked_to_end = any(part.get("source") == "ask_exit" for part in payload)

    def interrupt(self, seconds):
        """Stop what is running for so long. KernelLost if it does not listen, or is silent afterwards."""
        self.client.timeout = SECONDS_TO_OBEY
        cell = nbformat.v4.new_code_cell("print()")
        try:
            run_sync(self.client.km.interrupt_kernel)()
            self.client.execute_cell(cell, 0)
        except (CellTimeoutError, DeadKernelError):
            raise KernelLost(f"did not stop after {seconds} seconds") from None
        if not cell.outputs:  # an interrupt in the middle of a training can leave a kernel silent
            raise KernelLost(f"was stopped after {seconds} seconds")

    def watch(self, done, megabytes):
        """Kill the kernel if it and its children hold more memory than that; return when it has ended."""
        while not done.wait(0.1):
            with contextlib.suppress(psutil.Error):
                processes = self.processes()
                if sum(process.memory_info().rss for process in processes) > megabytes * 1e6:
                    self.reason = f"took more than {megabytes:,.0f} MB of memory"
                    end(processes)

    def processes(self):
        """The kernel's process, and those that it has started."""
        own = psutil.Process(self.client.km.provisioner.pid)
        return [own, *own.children(recursive=True)]


def end(processes):
    """Kill processes."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextlib.contextmanager
def fresh_kernel(lessons, limits):
    """A `Kernel` in a copy of the course around the folder `lessons`, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "notebooks")
        copy.mkdir()
        for path in (lessons.parent / "requirements.txt", *lessons.parent.glob("images/figure_*.png")):
            if path.exists():
                there = Path(folder, path.relative_to(lessons.parent))
                there.parent.mkdir(exist_ok=True)
                shutil.copy(path, there)
        package = str(Path(lora_lab.__file__).parent.parent)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            "LORA_LAB_PROGRESS": "off",
            "IPYTHONDIR": folder,  # no history and no start-up files of whoever grades
            "TMPDIR": folder,
        }
        notebook = nbformat.v4.new_notebook()
        client = Client(notebook, kernel_name="python3", allow_errors=True, shutdown_kernel="immediate")
        client.log.setLevel("CRITICAL")  # a loop or a crash is a row of the table
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # what goes around the client
        with client.setup_kernel(cwd=str(copy), env=environment, **silent):
            kernel, done = Kernel(client), threading.Event()
            watcher = threading.Thread(target=kernel.watch, args=(done, limits.megabytes), daemon=True)
            watcher.start()
            try:
                yield kernel
            finally:
                done.set()
                watcher.join()
                with contextlib.suppress(psutil.Error):
                    end(kernel.processes()[1:])
