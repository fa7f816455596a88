"""The stored runs: what takes longer than a lesson should, made beforehand and kept in data/. One module a
lesson; here is what they share. `python -m lora_lab.runs` makes them all again.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

DATA = Path(__file__).parent / "data"


def in_parallel(settings, run):
    """`run` with each of `settings`, in two processes of one thread each, whose results do not depend on the
    machine's cores.
    """
    start = {"max_workers": 2, "mp_context": get_context("spawn")}
    with ProcessPoolExecutor(**start, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(run, **setting) for setting in settings]
        runs = []
        for setting, one in zip(settings, waiting, strict=True):
            runs.append(one.result())
            print(f"{len(runs)} of {len(settings)}: {setting}", flush=True)
    return runs


def lowest(runs):
    """Of several runs, the one with the lowest loss on the new register."""
    return min(runs, key=lambda run: run["pirate"])
