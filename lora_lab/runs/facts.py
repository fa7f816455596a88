"""The runs on a task on which the rank matters: 64 facts, and nothing else, are to be learned.

In "facts" each of the sixteen names has an animal, a colour, an object and a place of its own; what the base
pays for them becomes knowable. The rate is chosen on one half of the held-out stories, and what is reported
is measured on the other. On plain stories the loss is taken apart: facts contradict first mentions, and
nothing contradicts later ones.
"""

from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import lowest, runs_of
from lora_lab.runs.one_run import SEEDS, Setting, halves, in_parallel, train_run
from lora_lab.story_gpt2.batches import floor_per_token
from lora_lab.story_gpt2.parts import labels_by_part
from lora_lab.training import evaluate

LORA = "LoRA, all linear layers"
TASK = {"task": "facts", "stories": 3200, "steps": 200, "held_out": 400}
# Factors of two, and the best has a worse one on both sides.
SWEEPS = {
    ("biases", 0): (0.01, 0.02, 0.04),
    (LORA, 1): (0.005, 0.01, 0.02),
    (LORA, 2): (0.0025, 0.005, 0.01),
    (LORA, 8): (0.00125, 0.0025, 0.005),
    (LORA, 64): (0.000625, 0.00125, 0.0025),
    ("full", 0): (0.00025, 0.0005, 0.001),
}
SHORT = Setting(LORA, 0.005, 8, 16, task="facts", stories=160, steps=10, held_out=40)  # quickly made again


def setting(method, rank, rate, seed=0):
    """A run of this topic; alpha is twice the rank."""
    return Setting(method, rate, **({"rank": rank, "alpha": 2 * rank} if rank else {}), seed=seed, **TASK)


def facts_sweeps():
    """What is run first: three rates for every method, one seed."""
    return [setting(*which, rate) for which, rates in SWEEPS.items() for rate in rates]


def facts_seeds(sweeps):
    """What is run next, after the runs `sweeps`: every method at its best rate with two more seeds."""
    best = {which: lowest(of(sweeps, *which), "chosen")["rate"] for which in SWEEPS}
    return [setting(*which, rate, seed) for which, rate in best.items() for seed in SEEDS[1:]]


def of(runs, method, rank):
    """The runs of a method, and of a rank if it has one."""
    return runs_of(runs, method=method, **({"rank": rank} if rank else {}))


def losses(model, held_out, parts=None):
    """The loss on the half of `held_out` stories that the rate is chosen by, on the other, and on half as
    many plain stories by the kind of word: on those kinds that `parts` names, or on all; to five digits.
    """
    choose, report = halves("facts", held_out)
    plain, labels = labels_by_part(held_out // 2)
    found = {"chosen": evaluate(model, *choose), "facts": evaluate(model, *report)}
    found |= {name: evaluate(model, plain, labels[name]) for name in parts or labels}
    return {name: round(loss, 5) for name, loss in found.items()}


def measure_facts(setting):
    """One run with its losses."""
    model, run = train_run(setting)
    return run | losses(model, setting.held_out)


def share_of_way(stored, run):
    """How far `run` went from the base's loss to the floor, as a share, on the stories that are reported."""
    return (stored["base"]["facts"] - run["facts"]) / (stored["base"]["facts"] - stored["floor"])


def facts_runs():
    """Make everything anew: what is stored, as a dict."""
    sweeps = in_parallel(facts_sweeps(), measure_facts)
    return {
        "floor": round(floor_per_token("facts", TASK["held_out"], first=TASK["held_out"] // 2), 5),
        "base": losses(load_gpt2(), TASK["held_out"]),
        "sweeps": sweeps,
        "seeds": in_parallel(facts_seeds(sweeps), measure_facts),
        "short": in_parallel([SHORT], measure_facts),
    }
