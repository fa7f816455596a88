"""The runs of lesson 09 that take longer than a lesson should.

Three tasks, each with 1,600 stories and 100 steps as in lesson 08: the pirate register; the same stories with
shuffled labels, which is the control; and plain stories in new words, which is hard, and has 400 steps, too.
"""

import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lora_lab.gpt2 import dense_names, gpt2_blocks, load_gpt2
from lora_lab.low_rank import energy
from lora_lab.random_subspace import RandomSubspace
from lora_lab.runs import DATA, in_parallel
from lora_lab.runs.fine_tuning import HELD_OUT, STEPS, STORIES, WARMUP
from lora_lab.runs.methods import make_trainable
from lora_lab.spectra import stable_rank, train_only_dense, truncated, weight_updates, with_updates
from lora_lab.story_gpt2.batches import TASKS, floor_per_token, task_data
from lora_lab.training import evaluate, fit

STORED_RANKS = DATA / "why_low_rank.json"
STORED_PAIRS = DATA / "why_low_rank.safetensors"  # the A and B of LoRA on q and v, for phi
DENSE_RATES, LORA_RATES, LORA_RANKS = (2e-3, 5e-3), (5e-3, 2e-2), (1, 8, 64)
MORE_STEPS = 4 * STEPS  # for the hard task
DIMENSIONS, SUBSPACE_RATE = (16, 128, 1024, 8192, 65536), 1e-3
PAIRS = ((8, 0), (64, 0), (64, 1))  # rank and seed
CUTS = (1, 2, 4, 8, 16, 32, 64)


def train_run(task, method, rate, rank=8, seed=0, steps=STEPS):
    """One run, as (model, dict): `method` is "dense", "lora" or "subspace", whose `rank` is its d."""
    torch.manual_seed(seed)  # A is drawn
    model = load_gpt2()
    if method == "dense":
        model = train_only_dense(model)
    elif method == "lora":
        model = make_trainable(model, "LoRA, all linear layers", rank)
    else:
        model = RandomSubspace(model, dense_names(model), rank, seed)
    fit(model, *task_data(task, STORIES), steps, rate, warmup=WARMUP, seed=seed)
    loss = evaluate(model, *task_data(task, HELD_OUT, held_out=True))
    return model, {
        "task": task,
        "method": method,
        "rank": rank,
        "rate": rate,
        "seed": seed,
        "steps": steps,
        "loss": round(loss, 5),
    }


def one_run(**setting):
    """What is stored of one run: its dict; of full fine-tuning also how its update looks, and the loss of
    its update truncated; of some LoRA runs, A and B of q and v.
    """
    model, run = train_run(**setting)
    pairs = {}
    if run["method"] == "dense":
        updates = weight_updates(model)
        run["stable"] = {name: round(stable_rank(update), 3) for name, update in updates.items()}
        run["energy"] = {name: energy_at(update) for name, update in updates.items()}
        data = task_data(run["task"], HELD_OUT, held_out=True)
        run["truncated"] = [round(evaluate(with_updates(truncated(updates, r)), *data), 5) for r in CUTS]
    if (run["task"], run["method"]) == ("pirate", "lora"):
        for number, block in enumerate(gpt2_blocks(model)):
            for target in ("q", "v"):
                lora, name = block.attn.lora[target], f"r{run['rank']} seed{run['seed']} {number}.{target}"
                pairs |= {f"{name} A": lora.A.detach().half(), f"{name} B": lora.B.detach().half()}
    return run, pairs


def energy_at(update, ranks=(1, 4, 8, 16)):
    """The shares of the energy of `update` in its top `ranks` directions."""
    shares = energy(np.linalg.svd(update, compute_uv=False))
    return [round(float(shares[rank - 1]), 4) for rank in ranks]


def load_pairs():
    """The stored A and B, float32, as a dict from (rank, seed, "0.q") to (A (r, in), B (out, r))."""
    stored, pairs = load_file(STORED_PAIRS), {}
    for key in (key for key in stored if key.endswith(" A")):
        rank, seed, name = key[:-2].split()
        pair = tuple(stored[f"{key[:-1]}{letter}"].float().numpy() for letter in "AB")
        pairs[int(rank[1:]), int(seed[4:]), name] = pair
    return pairs


def all_settings():
    """The settings of all stored runs."""
    pirate = [
        {"task": "pirate", "method": "lora", "rate": 5e-3, "rank": r, "seed": seed} for r, seed in PAIRS
    ]
    pirate += [{"task": "pirate", "method": "subspace", "rate": SUBSPACE_RATE, "rank": d} for d in DIMENSIONS]
    dense = [{"task": "pirate", "method": "dense", "rate": 1e-3}]
    dense += [{"task": "shuffled labels", "method": "dense", "rate": 1e-3}]
    new = [{"method": "dense", "rate": rate} for rate in DENSE_RATES]
    new += [{"method": "lora", "rate": rate, "rank": r} for r in LORA_RANKS for rate in LORA_RATES]
    new = [{"task": "new words", **setting, "steps": n} for n in (STEPS, MORE_STEPS) for setting in new]
    return dense + new + pirate


def store_rank_runs():
    """Make everything anew, and write it when all is done."""
    results = in_parallel(all_settings(), one_run)
    runs, pairs = [run for run, _ in results], {}
    for _, of_run in results:
        pairs |= of_run
    bases = {
        task: round(evaluate(load_gpt2(), *task_data(task, HELD_OUT, held_out=True)), 5) for task in TASKS
    }
    floors = {"pirate": round(floor_per_token("pirate"), 5), "new words": round(floor_per_token("plain"), 5)}
    text = json.dumps({"base": bases, "floor": floors, "runs": runs}).replace('{"task"', '\n{"task"')
    STORED_RANKS.write_text(text + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in pairs.items()}, STORED_PAIRS)


if __name__ == "__main__":
    store_rank_runs()
