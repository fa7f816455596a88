"""The runs of lesson 12 that take longer than a lesson should.

On facts, the task on which the rank matters: LoRA on some of the matrices at one budget, and at other alphas;
PiSSA, its control in random directions, and DoRA; what they are compared with is in `facts`. On pirate
stories, with half of everything: the matrices again, few stories that are seen often, and how the rows of
DoRA turn and grow.
"""

from dataclasses import replace
from functools import partial

from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.gpt2 import load_gpt2
from lora_lab.runs.facts import LORA, TASK
from lora_lab.runs.one_run import SEEDS, Setting, held_out_loss, in_parallel, losses_by_part, train_run
from lora_lab.spectra import row_changes
from lora_lab.story_gpt2.batches import story_data
from lora_lab.training import evaluate

# Where to put LoRA, with the rank at which both hold 5,120 numbers a block; and the rates to try, on facts
# and on pirate stories: factors of two, and the best has a worse one on both sides. Rank 2 on all six, 4,608
# numbers, is in `facts`.
PLACES = {
    "q, k, v, o": (ATTENTION_TARGETS, 5, (0.005, 0.01, 0.02), (0.01, 0.02, 0.04)),
    "MLP": (("fc", "proj"), 4, (0.0025, 0.005, 0.01), (0.01, 0.02, 0.04)),
}
# (rank, alpha): rates. alpha = 2 r is in `facts`.
ALPHAS = {
    (8, 128): (0.0003125, 0.000625, 0.00125),
    (64, 16): (0.00125, 0.0025, 0.005),
}
# On facts: LoRA on all linear layers is in `facts`.
VARIANTS = {
    "PiSSA": (0.00125, 0.0025, 0.005),
    "random directions": (0.00125, 0.0025, 0.005),
    "DoRA": (0.00125, 0.0025, 0.005),
}
SHORT = Setting("LoRA", 0.005, 4, 8, "fc, proj", task="facts", stories=160, steps=10, held_out=40)

HALF = {"stories": 800, "steps": 50, "warmup": 5, "held_out": 100}
JUDGED = HALF | {"held_out": 200}  # half of them to choose the rate by
FEW, FEW_RANKS = 64, (1, 8, 64)  # so few stories that a run sees each of them twelve times
TURNS = {"full": (1e-3, (0,)), "LoRA": (5e-3, SEEDS), "DoRA": (5e-3, SEEDS)}  # rate and seeds


def choosing_sweeps():
    """What is run first: part -> list of settings, with one seed."""
    places = {"places": (TASK, 2), "pirate places": (JUDGED, 3)}
    return {
        part: [
            Setting("LoRA", rate, place[1], 2 * place[1], ", ".join(place[0]), **task)
            for place in PLACES.values()
            for rate in place[rates]
        ]
        for part, (task, rates) in places.items()
    } | {
        "variants": [Setting(method, rate, **TASK) for method, rates in VARIANTS.items() for rate in rates],
        "alphas": [
            Setting(LORA, rate, rank, alpha, **TASK)
            for (rank, alpha), rates in ALPHAS.items()
            for rate in rates
        ],
    }


def choosing_seeds():
    """What is run with two more seeds, by part: the best rates and those beside them."""
    sweeps = choosing_sweeps()
    return {
        part: [replace(setting, seed=seed) for setting in sweeps[part] for seed in SEEDS[1:]]
        for part in ("places", "pirate places", "variants")
    }


def measure_choice(setting):
    """One run with its losses on held-out stories: on the half that the rate is chosen by, and on the other;
    after facts also on plain stories, where something is mentioned again.
    """
    model, run = train_run(setting)
    parts = ("later mentions",) if setting.task == "facts" else ()
    return run | losses_by_part(model, setting.task, setting.held_out, parts)


def settings_at_one_rate():
    """What is run without a sweep, on pirate stories: part -> list of settings."""
    lora = partial(Setting, "LoRA", 5e-3, **HALF)
    return {
        "few": [replace(lora(rank), seed=seed, stories=FEW) for rank in FEW_RANKS for seed in SEEDS[:2]],
        "turns": [
            Setting(method, rate, seed=seed, **HALF)
            for method, (rate, seeds) in TURNS.items()
            for seed in seeds
        ],
    }


def measure_at_one_rate(setting, turns=False):
    """One run with its losses, on training stories and on held-out ones; with `turns` also `row_changes`."""
    model, run = train_run(setting)
    seen = (part[:FEW] for part in story_data(setting.task, setting.stories))
    run["train"] = round(evaluate(model, *seen), 5)
    run |= {kind: held_out_loss(model, kind, setting.held_out) for kind in ("pirate", "plain")}
    return run | ({"changes": row_changes(model, load_gpt2())} if turns else {})


def choosing_runs():
    """Make everything anew: what is stored, as a dict."""
    runs = {part: in_parallel(settings, measure_choice) for part, settings in choosing_sweeps().items()}
    for part, settings in choosing_seeds().items():
        runs[part] += in_parallel(settings, measure_choice)
    runs["short"] = in_parallel([SHORT], measure_choice)
    for part, settings in settings_at_one_rate().items():
        measure = partial(measure_at_one_rate, turns=part == "turns")
        runs[part] = in_parallel(settings, measure)
    return runs
