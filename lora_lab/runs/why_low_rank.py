"""The runs of lesson 11 that take longer than a lesson should.

Three tasks: the pirate register; the same stories with shuffled labels, which is the control; and plain
stories in new words, which is hard, and has four times the steps, too. A run measures the loss on its task;
full fine-tuning also how its update looks.
"""

import numpy as np
from safetensors.torch import load_file, save_file

from lora_lab.gpt2 import gpt2_blocks, load_gpt2
from lora_lab.low_rank import energy
from lora_lab.runs import DATA
from lora_lab.runs.one_run import Setting, held_out_loss, in_parallel, train_run
from lora_lab.spectra import stable_rank, truncated, weight_updates, with_updates
from lora_lab.story_gpt2.batches import floor_per_token

STORED_PAIRS = DATA / "why_low_rank.safetensors"  # the A and B of LoRA on q and v, for phi
TASKS = ("pirate", "shuffled labels", "new words")
DENSE_RATES, LORA_RATES, LORA_RANKS = (2e-3, 5e-3), (5e-3, 2e-2), (1, 8, 64)
STEPS = (100, 400)  # the latter for the hard task
DIMENSIONS, SUBSPACE_RATE = (16, 128, 1024, 8192, 65536), 1e-3
PAIRS = ((8, 0), (64, 0), (64, 1))  # rank and seed
CUTS = (1, 2, 4, 8, 16, 32, 64)


def settings_by_task():
    """The settings of all stored runs."""
    dense = [Setting("dense", 1e-3), Setting("dense", 1e-3, task="shuffled labels")]
    new = [
        setting
        for steps in STEPS
        for setting in (
            *(Setting("dense", rate, task="new words", steps=steps) for rate in DENSE_RATES),
            *(
                Setting("LoRA", rate, rank, task="new words", steps=steps)
                for rank in LORA_RANKS
                for rate in LORA_RATES
            ),
        )
    ]
    pirate = [Setting("LoRA", 5e-3, rank, seed=seed) for rank, seed in PAIRS]
    pirate += [Setting("subspace", SUBSPACE_RATE, d=d) for d in DIMENSIONS]
    return dense + new + pirate


def measure_update(setting):
    """What is stored of one run: its dict; and of LoRA on pirate stories, A and B of q and v."""
    model, run = train_run(setting)
    run["loss"], pairs = held_out_loss(model, setting.task, setting.held_out), {}
    if setting.method == "dense":
        updates = weight_updates(model)
        run["stable"] = {name: round(stable_rank(update), 3) for name, update in updates.items()}
        run["energy"] = {name: energy_at(update) for name, update in updates.items()}
        cut = (with_updates(truncated(updates, rank)) for rank in CUTS)
        run["truncated"] = [held_out_loss(model, setting.task, setting.held_out) for model in cut]
    if (setting.task, setting.method) == ("pirate", "LoRA"):
        for number, block in enumerate(gpt2_blocks(model)):
            for target in ("q", "v"):
                lora, name = block.attn.lora[target], f"r{setting.rank} seed{setting.seed} {number}.{target}"
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


def why_low_rank_runs():
    """Make everything anew: what is stored, as a dict; and the file of A and B."""
    results = in_parallel(settings_by_task(), measure_update)
    pairs = {name: pair.contiguous() for _, of_run in results for name, pair in of_run.items()}
    save_file(pairs, STORED_PAIRS)
    bases = {task: held_out_loss(load_gpt2(), task, 200) for task in TASKS}
    floors = {"pirate": round(floor_per_token("pirate"), 5), "new words": round(floor_per_token("plain"), 5)}
    return {"base": bases, "floor": floors, "runs": [run for run, _ in results]}
