"""The runs of lesson 10 that take longer than a lesson should.

As in lesson 08, a run takes a fresh model through stories of the new register and measures the loss on
stories that it has not seen, of the new register and of the old; and here also on stories that it was trained
on. To have time for more runs, each has half the steps, 50, and half the held-out stories.
"""

import json

import torch

from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, load_gpt2
from lora_lab.runs import DATA, in_parallel, lowest
from lora_lab.runs.fine_tuning import SEEDS
from lora_lab.runs.methods import ALPHA, RANK, make_trainable
from lora_lab.spectra import row_changes
from lora_lab.story_gpt2.batches import register_data
from lora_lab.training import evaluate, fit
from lora_lab.variants import use_dora, use_pissa, use_random_directions

CHOICES = DATA / "choosing.json"
N_STEPS, N_STORIES, N_HELD_OUT, N_WARMUP = 50, 800, 100, 5  # 16 stories a step: each is seen once

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
VARIANTS = {"LoRA": None, "PiSSA": use_pissa, "random directions": use_random_directions, "DoRA": use_dora}
FIRST_STEPS = 20
FIRST_RATES = {
    "LoRA": (1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    "PiSSA": (1e-3, 2e-3, 5e-3, 1e-2),
    "random directions": (1e-3, 2e-3, 5e-3, 1e-2),
}
TURNS = {"full": (1e-3, (0,)), "LoRA": (5e-3, SEEDS), "DoRA": (5e-3, SEEDS)}  # rate and seeds


def measure_choice(
    targets=ALL_TARGETS, rank=RANK, alpha=ALPHA, rate=5e-3, seed=0, variant="LoRA", stories=N_STORIES,
    steps=N_STEPS, warmup=N_WARMUP, turns=False,
):  # fmt: skip
    """One run, as a dict: what was asked for, how many numbers were trained, and the losses on training
    stories and on held-out ones. With `turns` also `row_changes`. `variant` is one of VARIANTS, or "full" for
    full fine-tuning, to which rank, alpha and targets say nothing.
    """
    torch.manual_seed(seed)
    model = load_gpt2()
    if variant == "full":
        make_trainable(model, "full")
    else:
        apply_lora_to_gpt2(model, rank, alpha, targets)
        change = VARIANTS[variant]
        model = change(model) if change else model
    run = {"targets": ", ".join(targets), "rank": rank, "alpha": alpha, "rate": rate, "seed": seed}
    run |= {"variant": variant, "stories": stories, "steps": steps}
    run["trainable"] = count_trainable_parameters(model)
    ids, labels = register_data("pirate", stories)
    fit(model, ids, labels, steps, rate, warmup=warmup, seed=seed)
    run["train"] = round(evaluate(model, ids[:FEW], labels[:FEW]), 5)
    for register in ("pirate", "plain"):
        run[register] = round(evaluate(model, *register_data(register, N_HELD_OUT, held_out=True)), 5)
    if turns:
        run["changes"] = row_changes(model, load_gpt2())
    return run


def settings_of_sweeps():
    """What is run first: part -> list of arguments of `measure_choice`."""
    first = {"steps": FIRST_STEPS, "warmup": 0}
    return {
        "rules": [
            {"rank": rank, "alpha": RULES[rule](rank), "rate": rate}
            for (rule, rank), rates in RULE_RATES.items()
            for rate in rates
        ],
        "alphas": [{"alpha": alpha, "rate": rate} for alpha, rates in ALPHA_RATES.items() for rate in rates],
        "places": [
            {"targets": targets, "rank": rank, "rate": rate}
            for targets, rank, rates in PLACES.values()
            for rate in rates
        ],
        "few": [{"rank": rank, "stories": FEW, "seed": seed} for rank in FEW_RANKS for seed in SEEDS[:2]],
        "first": [
            {"variant": name, "rate": rate, **first} for name, rates in FIRST_RATES.items() for rate in rates
        ],
        "turns": [
            {"variant": variant, "rate": rate, "seed": seed, "turns": True}
            for variant, (rate, seeds) in TURNS.items()
            for seed in seeds
        ],
    }


def settings_of_seeds(runs):
    """What is run next: the other seeds, at the rate that was best in the sweep."""
    best_place = [
        (targets, lowest([run for run in runs["places"] if run["targets"] == ", ".join(targets)]))
        for targets, *_ in PLACES.values()
    ]
    best_first = [lowest([run for run in runs["first"] if run["variant"] == name]) for name in FIRST_RATES]
    return {
        "places": [
            {"targets": targets, "rank": run["rank"], "rate": run["rate"], "seed": seed}
            for targets, run in best_place
            for seed in SEEDS[1:]
        ],
        "first": [
            {key: run[key] for key in ("variant", "rate", "steps")} | {"warmup": 0, "seed": seed}
            for run in best_first
            for seed in SEEDS[1:]
        ],
    }


def store_choices():
    """Make everything anew, and write it when all is done."""
    runs = {part: in_parallel(settings, measure_choice) for part, settings in settings_of_sweeps().items()}
    for part, settings in settings_of_seeds(runs).items():
        runs[part] += in_parallel(settings, measure_choice)
    lines = [f'"{name}": {json.dumps(value)}' for name, value in runs.items()]
    text = "{\n" + ",\n".join(lines).replace("}, {", "},\n{") + "\n}\n"
    CHOICES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    store_choices()
