"""The runs of lesson 11 that take longer than a lesson should.

The dense weights of the blocks are trained on three tasks, and what became of them is measured: on facts,
where the rank matters; on pirate speech, which is easy; and on shuffled labels, its control. Facts are also
learned in a random subspace, and by LoRA, whose A and B are kept. The rate is chosen on one half of the
held-out stories, and what is reported is measured on the other.
"""

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lora_lab.gpt2 import dense_weights, load_gpt2, lora_layers
from lora_lab.low_rank import energy
from lora_lab.runs import DATA, at_best
from lora_lab.runs.facts import LORA, TASK
from lora_lab.runs.one_run import SEEDS, Setting, halves, in_parallel, train_run
from lora_lab.spectra import random_update, stable_rank, truncated, weight_updates, with_updates
from lora_lab.story_gpt2.batches import floor_per_token
from lora_lab.training import evaluate

TENSORS = DATA / "why_low_rank.safetensors"  # the update that full fine-tuning makes; A and B of LoRA
FACTS, HELD_OUT = "facts", TASK["held_out"]
TASKS = {
    FACTS: TASK,
    "pirate": {"task": "pirate", "stories": 1600, "steps": 100, "held_out": HELD_OUT},
}
NONSENSE = TASKS["pirate"] | {"task": "shuffled labels"}
# Factors of two, and the best has a worse one on both sides.
DENSE_RATES = {
    FACTS: (2.5e-4, 5e-4, 1e-3),
    "pirate": (5e-4, 1e-3, 2e-3),
}
D, SUBSPACE_RATES = 9216, (4e-3, 8e-3, 16e-3)  # as many numbers as LoRA of rank 1 has
FIRST_STEPS = (1, 10, 50)  # of the run on facts
PAIRS = ((8, 2.5e-3, 0), (8, 2.5e-3, 1), (64, 1.25e-3, 1))  # rank, its best rate (`facts`), seed
CUTS = (1, 2, 4, 8, 16, 32, 64)
SKIPPED, KEPT = (0, 1, 2, 4, 8), (1, 2, 4, 8, 16, 32)  # directions of an update: left out, and kept then


def dense_setting(task, rate, seed=0, **other):
    """A run that trains the dense weights on `task`; `other` replaces what its task says."""
    return Setting("dense", rate, seed=seed, **(TASKS | {"shuffled labels": NONSENSE})[task] | other)


def subspace_setting(rate, seed=0):
    """A run on facts in a random subspace."""
    return Setting("subspace", rate, d=D, seed=seed, **TASK)


def first_sweeps():
    """What is run first: the rates, with one seed."""
    found = [dense_setting(task, rate) for task, rates in DENSE_RATES.items() for rate in rates]
    return found + [subspace_setting(rate) for rate in SUBSPACE_RATES]


def later_settings(sweeps):
    """What is run next, by part, after the runs `sweeps`: more seeds at the best rates, the control on
    shuffled labels, and the first steps of the run on facts.
    """
    best = {task: at_best(sweeps, method="dense", task=task)[0]["rate"] for task in TASKS}
    in_subspace = at_best(sweeps, method="subspace")[0]["rate"]
    seeds = [dense_setting(task, best[task], seed) for task in TASKS for seed in SEEDS[1:]]
    return {
        "seeds": seeds + [subspace_setting(in_subspace, seed) for seed in SEEDS[1:]],
        "nonsense": [dense_setting("shuffled labels", best["pirate"], seed) for seed in SEEDS],
        "first steps": [dense_setting(FACTS, best[FACTS], steps=steps) for steps in FIRST_STEPS],
    }


def lora_settings():
    """The LoRA runs on facts of which A and B are kept."""
    return [Setting(LORA, rate, rank, 2 * rank, seed=seed, **TASK) for rank, rate, seed in PAIRS]


def measure_update(setting):
    """What is stored of one run, as (dict, tensors): its losses; of a dense run what its updates look like,
    and the losses when they are cut; and of LoRA A and B, of rank 64 only those of q and v.
    """
    model, run = train_run(setting)
    choose, report = halves(setting.task, setting.held_out)
    run |= {"chosen": round(evaluate(model, *choose), 5), "loss": round(evaluate(model, *report), 5)}
    if setting.method == LORA:
        kept = {
            name: lora for name, lora in lora_layers(model).items() if setting.rank < 64 or name[2] in "qv"
        }
        pairs = {f"{name} {letter}": getattr(lora, letter) for name, lora in kept.items() for letter in "AB"}
        return run, {f"r{setting.rank} seed{setting.seed} {name}": pairs[name].detach() for name in pairs}
    if setting.method == "subspace":
        return run, {}
    updates = weight_updates(model)
    run |= looks(updates)
    if setting.steps >= 100:
        cut = (with_updates(truncated(updates, rank)) for rank in CUTS)
        run["truncated"] = [round(evaluate(model, *report), 5) for model in cut]
    return run, {f"update {name}": torch.from_numpy(update) for name, update in updates.items()}


def looks(updates):
    """For each matrix the norm of its update as a share of the weight's, the update's stable rank, and its
    shares of energy in the top 1, 4, 8 and 16 directions.
    """
    start = dense_weights(load_gpt2())
    sizes = {name: np.linalg.norm(update) / start[name].norm().item() for name, update in updates.items()}
    return {
        "size": {name: round(float(size), 4) for name, size in sizes.items()},
        "stable": {name: round(stable_rank(update), 3) for name, update in updates.items()},
        "energy": {name: energy_at(update) for name, update in updates.items()},
    }


def energy_at(update, ranks=(1, 4, 8, 16)):
    """The shares of the energy of `update` in its top `ranks` directions."""
    shares = energy(np.linalg.svd(update, compute_uv=False))
    return [round(float(shares[rank - 1]), 4) for rank in ranks]


def losses_of_parts(updates):
    """The losses on facts with some directions of `updates` only. "part" has a row for each of KEPT and a
    column for each of SKIPPED: of each matrix that many of the strongest are left out, and the next are kept.
    "random" is the control: random updates of that rank, each with the norm of its strongest directions.
    """
    _, report = halves(FACTS, HELD_OUT)

    def loss(change):
        return round(evaluate(with_updates(change), *report), 5)

    def part(skip, keep):
        return {name: some_directions(update, skip, keep) for name, update in updates.items()}

    def noise(keep, draw):
        return {name: random_update(cut, keep, draw) for name, cut in truncated(updates, keep).items()}

    draw = np.random.default_rng(0)
    return {
        "part": [[loss(part(skip, keep)) for skip in SKIPPED] for keep in KEPT],
        "random": [loss(noise(keep, draw)) for keep in KEPT],
    }


def some_directions(update, skip, keep):
    """The terms of the singular value decomposition of `update` from number `skip`, `keep` of them."""
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    some = slice(skip, skip + keep)
    return U[:, some] * s[some] @ Vt[some]


def load_update():
    """The update that training the dense weights on facts made, float32, as a dict from "0.q", "0.k", ..."""
    stored = load_file(TENSORS)
    return {name: stored[f"update {name}"].float().numpy() for name in dense_weights(load_gpt2())}


def load_pairs():
    """The stored A and B, float32, as a dict from (rank, seed, "0.q") to (A (r, in), B (out, r))."""
    return as_pairs(load_file(TENSORS))


def train_pairs():
    """What `load_pairs` returns, trained here: for a model of which nothing is stored."""
    return as_pairs({name: of for s in lora_settings() for name, of in measure_update(s)[1].items()})


def as_pairs(tensors):
    """The A and B among `tensors`, which are named as `measure_update` names them."""
    pairs = {}
    for key in (key for key in tensors if key.endswith(" A")):
        rank, seed, name = key[:-2].split()
        pair = tuple(tensors[f"{key[:-1]}{letter}"].float().cpu().numpy() for letter in "AB")
        pairs[int(rank[1:]), int(seed[4:]), name] = pair
    return pairs


def why_low_rank_runs():
    """Make everything anew: what is stored, as a dict; and the file of an update and of A and B."""
    sweeps = in_parallel(first_sweeps(), measure_update)
    later = later_settings([run for run, _ in sweeps])
    made = {"sweeps": sweeps} | {
        part: in_parallel(settings, measure_update) for part, settings in later.items()
    }
    made["LoRA"] = in_parallel(lora_settings(), measure_update)
    best = at_best([run for run, _ in sweeps], method="dense", task=FACTS)[0]
    kept = [tensors for run, tensors in (*sweeps, *made["LoRA"]) if run is best or run["method"] == LORA]
    save_file({name: of.half().contiguous() for tensors in kept for name, of in tensors.items()}, TENSORS)
    return {
        "base": {task: round(evaluate(load_gpt2(), *halves(task, HELD_OUT)[1]), 5) for task in TASKS},
        "floor": {task: round(floor_per_token(task, HELD_OUT, first=HELD_OUT // 2), 5) for task in TASKS},
        **{part: [run for run, _ in results] for part, results in made.items()},
        "parts": losses_of_parts(load_update()),
    }
