"""The runs on a task on which the rank matters: 64 facts, and nothing else, are to be learned.

In "facts" each of the sixteen names has an animal, a colour, an object and a place of its own; what the base
pays for them becomes knowable. The rate is chosen on one half of the held-out stories, and what is reported
is measured on the other. On plain stories the loss is taken apart: facts contradict first mentions, and
nothing contradicts later ones.
"""

from dataclasses import replace

from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import runs_of
from lora_lab.runs.one_run import SEEDS, Setting, in_parallel, losses_by_part, train_run
from lora_lab.story_gpt2.batches import floor_per_token

LORA, ATTENTION = "LoRA, all linear layers", "LoRA on q, k, v, o"
PARTS = ("first mentions", "later mentions", "pirate words", "other words", "common words")
TASK = {"task": "facts", "stories": 3200, "steps": 200, "held_out": 400}
# Factors of two, and the best has a worse one on both sides.
SWEEPS = {
    ("biases", 0): (0.01, 0.02, 0.04),
    (LORA, 1): (0.005, 0.01, 0.02),
    (LORA, 2): (0.005, 0.01, 0.02),
    (LORA, 8): (0.00125, 0.0025, 0.005),
    (LORA, 64): (0.000625, 0.00125, 0.0025),
    ("full", 0): (0.00025, 0.0005, 0.001),
    (ATTENTION, 8): (0.0025, 0.005, 0.01),
    ("last block", 0): (0.004, 0.008, 0.016),
}
SHORT = Setting(LORA, 0.005, 8, 16, task="facts", stories=160, steps=10, held_out=40)  # quickly made again


def setting(method, rank, rate):
    """A run of this topic; alpha is twice the rank."""
    return Setting(method, rate, **({"rank": rank, "alpha": 2 * rank} if rank else {}), **TASK)


def facts_sweeps():
    """What is run first: three rates for every method, one seed."""
    return [setting(*which, rate) for which, rates in SWEEPS.items() for rate in rates]


def facts_seeds():
    """What is run with two more seeds: all of it, the best rates and those beside them."""
    return [replace(setting, seed=seed) for setting in facts_sweeps() for seed in SEEDS[1:]]


def of(runs, method, rank):
    """The runs of a method, and of a rank if it has one."""
    return runs_of(runs, method=method, **({"rank": rank} if rank else {}))


def measure_facts(setting):
    """One run with its losses."""
    model, run = train_run(setting)
    return run | losses_by_part(model, "facts", setting.held_out, PARTS)


def facts_runs():
    """Make everything anew: what is stored, as a dict."""
    return {
        "floor": round(floor_per_token("facts", TASK["held_out"], first=TASK["held_out"] // 2), 5),
        "base": losses_by_part(load_gpt2(), "facts", TASK["held_out"], PARTS),
        "sweeps": in_parallel(facts_sweeps(), measure_facts),
        "seeds": in_parallel(facts_seeds(), measure_facts),
        "short": in_parallel([SHORT], measure_facts),
    }
