"""The runs of lesson 08 that take longer than a lesson should.

A run takes a fresh model through one pass over 1,600 stories of the new register, 100 steps, and measures the
loss on stories that it has not seen, of the new register and of the old.
"""

import json
import time

import torch

from lora_lab.adapters import save_adapter
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import MODEL_NAME, apply_lora_to_gpt2, load_gpt2, random_gpt2_small
from lora_lab.runs import DATA, in_parallel
from lora_lab.runs.methods import ALPHA, LORA_TARGETS, METHODS, RANK, make_trainable
from lora_lab.story_gpt2.batches import floor_per_token, register_data, shuffle_words
from lora_lab.training import evaluate, fit

STORED = DATA / "fine_tuning.json"
QUESTIONS = DATA / "questions"  # the folder of an adapter that answers questions

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
RANKS = (1, 2, 4, 8, 16)
SEEDS = (0, 1, 2)
STORIES, HELD_OUT, STEPS, WARMUP = 1600, 200, 100, 10


def measure(method, rate, seed=0, rank=RANK, shuffle=False):
    """One run, as a dict: what was asked for, how many numbers were trained, and the two held-out losses."""
    torch.manual_seed(seed)  # A is drawn
    model = make_trainable(load_gpt2(), method, rank)
    ids, labels = register_data("pirate", STORIES)
    if shuffle:
        ids, labels = shuffle_words(ids, labels)
    fit(model, ids, labels, STEPS, rate, warmup=WARMUP, seed=seed)
    run = {"method": method, "rank": rank, "rate": rate, "seed": seed}
    run["trainable"] = count_trainable_parameters(model)
    for register in ("pirate", "plain"):
        run[register] = round(evaluate(model, *register_data(register, HELD_OUT, held_out=True)), 5)
    return run


def measure_all():
    """All runs of the lesson: a sweep of the rate for every method; each at its best rate with every seed;
    every rank with every seed; and the control on shuffled text.
    """
    runs = {"rates": in_parallel([{"method": m, "rate": rate} for m in METHODS for rate in RATES], measure)}
    best = {m: best_rate(runs["rates"], m) for m in METHODS}
    lora = "LoRA, all linear layers"
    runs["methods"] = in_parallel(
        [{"method": m, "rate": best[m], "seed": seed} for m in METHODS for seed in SEEDS], measure
    )
    runs["ranks"] = in_parallel(
        [{"method": lora, "rate": best[lora], "seed": seed, "rank": r} for r in RANKS for seed in SEEDS],
        measure,
    )
    runs["shuffled"] = in_parallel(
        [{"method": m, "rate": best[m], "shuffle": True} for m in ("full", lora)], measure
    )
    return runs


def best_rate(runs, method):
    """The rate with which `method` had the lowest loss on the new register."""
    return min((run for run in runs if run["method"] == method), key=lambda run: run["pirate"])["rate"]


def step_times(steps=10):
    """Milliseconds a step of training takes on this machine, for this model (16 stories) and for a model of
    GPT-2 small's shape (4 texts of 128 tokens), by method.
    """
    shapes = {"story-gpt2": (load_gpt2, 16), "GPT-2 small's shape": (random_gpt2_small, 4)}
    times = {"threads": torch.get_num_threads()}
    for shape, (make, batch) in shapes.items():
        times[shape] = {}
        for method in ("full", *LORA_TARGETS, "biases"):
            model = make_trainable(make(), method)
            ids = torch.randint(0, 900, (64, 128), generator=torch.Generator().manual_seed(0))
            fit(model, ids, ids, 2, 1e-5, batch)
            began = time.perf_counter()
            fit(model, ids, ids, steps, 1e-5, batch)
            times[shape][method] = round(1000 * (time.perf_counter() - began) / steps)
    return times


def questions_adapter(folder):
    """The folder of an adapter that answers questions: the stored one for the shipped model; for another it
    is trained here, and saved in `folder`.
    """
    return QUESTIONS if MODEL_NAME == "story-gpt2" else train_questions(folder)


def train_questions(folder):
    """Train the adapter that answers questions, save it in `folder`, and return `folder`. It is on the fused
    c_attn, as most adapters that PEFT's users make.
    """
    torch.manual_seed(0)
    model = apply_lora_to_gpt2(load_gpt2(), RANK, ALPHA, ("c_attn", "o", "fc", "proj"))
    fit(model, *register_data("questions", 4 * STORIES), 4 * STEPS, 3e-3, warmup=WARMUP)
    save_adapter(model, folder)
    return folder


def store_all():
    """Make everything anew, and write it when all is done."""
    times = step_times()  # first, while nothing else is running
    stored = {"floor": round(floor_per_token("pirate"), 5), **measure_all(), "milliseconds_per_step": times}
    torch.set_num_threads(1)
    DATA.mkdir(exist_ok=True)
    train_questions(QUESTIONS)
    lines = [f'"{name}": {json.dumps(value)}' for name, value in stored.items()]
    text = "{\n" + ",\n".join(lines).replace("}, {", "},\n{") + "\n}\n"
    STORED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    store_all()
