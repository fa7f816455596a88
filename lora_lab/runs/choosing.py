"""The runs of lesson 12 that take longer than a lesson should.

As in lesson 10, a run measures the loss on stories that it has not seen, of the new register and of the
old; and here also on stories that it was trained on. To have time for more runs, each has half of
everything.
"""

from dataclasses import replace
from functools import partial

from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.gpt2 import ALL_TARGETS, load_gpt2
from lora_lab.runs import lowest, runs_of
from lora_lab.runs.methods import ALPHA, RANK
from lora_lab.runs.one_run import SEEDS, Setting, held_out_loss, in_parallel, train_run
from lora_lab.spectra import row_changes
from lora_lab.story_gpt2.batches import story_data
from lora_lab.training import evaluate

HALF = {"stories": 800, "steps": 50, "warmup": 5, "held_out": 100}

# Where to put LoRA, with the rank that makes all of them hold (nearly) as many numbers, 5,120 a block, and
# the rates to try.
PLACES = {
    "q": (("q",), 20, (1e-2, 2e-2, 5e-2)),
    "q, v": (("q", "v"), 10, (5e-3, 1e-2, 2e-2)),
    "q, k, v, o": (ATTENTION_TARGETS, 5, (2e-3, 5e-3, 1e-2)),
    "MLP": (("fc", "proj"), 4, (5e-3, 1e-2, 2e-2)),
    "all": (ALL_TARGETS, 2, (5e-3, 1e-2, 2e-2)),  # 4,608
}
# alpha by rank for two rules that agree at rank 8, alpha 16; and the rates to try, by rule and rank.
RULES = {"alpha / r": lambda rank: ALPHA, "plain alpha": lambda rank: ALPHA * rank / RANK}
RULE_RATES = {
    ("alpha / r", 1): (2e-3, 5e-3, 1e-2, 2e-2),
    ("alpha / r", 8): (2e-3, 5e-3, 1e-2, 2e-2),
    ("alpha / r", 64): (2e-3, 5e-3, 1e-2, 2e-2),
    ("plain alpha", 1): (1e-2, 2e-2, 5e-2, 1e-1),
    ("plain alpha", 64): (3e-4, 1e-3, 2e-3, 5e-3),
}
ALPHA_RATES = {1: (5e-3, 2e-2, 5e-2, 1e-1), 64: (1e-3, 2e-3, 5e-3), 256: (3e-4, 1e-3, 5e-3)}
FEW, FEW_RANKS = 64, (1, 8, 64)  # so few stories that a run sees each of them twelve times
FIRST_STEPS = {"steps": 20, "warmup": 0}
FIRST_RATES = {
    "LoRA": (1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    "PiSSA": (1e-3, 2e-3, 5e-3, 1e-2),
    "random directions": (1e-3, 2e-3, 5e-3, 1e-2),
}
TURNS = {"full": (1e-3, (0,)), "LoRA": (5e-3, SEEDS), "DoRA": (5e-3, SEEDS)}  # rate and seeds


def measure_choice(setting, turns=False):
    """One run with its losses, on training stories and on held-out ones; with `turns` also `row_changes`."""
    model, run = train_run(setting)
    seen = (part[:FEW] for part in story_data(setting.task, setting.stories))
    run["train"] = round(evaluate(model, *seen), 5)
    run |= {kind: held_out_loss(model, kind, setting.held_out) for kind in ("pirate", "plain")}
    return run | ({"changes": row_changes(model, load_gpt2())} if turns else {})


def settings_of_sweeps():
    """What is run first: part -> list of settings."""
    lora = partial(Setting, "LoRA", **HALF)
    return {
        "rules": [
            lora(rate, rank, RULES[rule](rank))
            for (rule, rank), rates in RULE_RATES.items()
            for rate in rates
        ],
        "alphas": [lora(rate, alpha=alpha) for alpha, rates in ALPHA_RATES.items() for rate in rates],
        "places": [
            lora(rate, rank, targets=", ".join(targets))
            for targets, rank, rates in PLACES.values()
            for rate in rates
        ],
        "few": [
            replace(lora(5e-3, rank, seed=seed), stories=FEW) for rank in FEW_RANKS for seed in SEEDS[:2]
        ],
        "first": [
            Setting(method, rate, **(HALF | FIRST_STEPS))
            for method, rates in FIRST_RATES.items()
            for rate in rates
        ],
        "turns": [
            Setting(method, rate, seed=seed, **HALF)
            for method, (rate, seeds) in TURNS.items()
            for seed in seeds
        ],
    }


def settings_of_seeds(runs):
    """What is run next, after the sweeps `runs`: the other seeds of each place and each start, at the rate
    that was best for it.
    """
    more = {}
    for part, key in (("places", "targets"), ("first", "method")):
        sweep, more[part] = settings_of_sweeps()[part], []
        for value in dict.fromkeys(getattr(setting, key) for setting in sweep):
            rate = lowest(runs_of(runs[part], seed=0, **{key: value}))["rate"]
            (best,) = (one for one in sweep if (getattr(one, key), one.rate) == (value, rate))
            more[part] += [replace(best, seed=seed) for seed in SEEDS[1:]]
    return more


def choosing_runs():
    """Make everything anew: what is stored, as a dict."""
    runs = {
        part: in_parallel(settings, partial(measure_choice, turns=part == "turns"))
        for part, settings in settings_of_sweeps().items()
    }
    for part, settings in settings_of_seeds(runs).items():
        runs[part] += in_parallel(settings, measure_choice)
    return runs
