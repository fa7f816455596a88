"""The runs of lesson 10 that take longer than a lesson should.

Five ways to fine-tune on stories of the new register, each with nine rates; ranks; and a control. A run
measures the loss on stories that it has not seen, of the new register and of the old.
"""

import time

import torch

from lora_lab.adapters import save_adapter
from lora_lab.gpt2 import MODEL_NAME, apply_lora_to_gpt2, load_gpt2, random_gpt2_small
from lora_lab.runs import DATA, lowest, runs_of
from lora_lab.runs.methods import ALPHA, LORA_TARGETS, METHODS, RANK, make_trainable
from lora_lab.runs.one_run import SEEDS, Setting, held_out_loss, in_parallel, train_run
from lora_lab.story_gpt2.batches import floor_per_token, story_data
from lora_lab.training import fit

QUESTIONS = DATA / "questions"  # the folder of an adapter that answers questions
LORA = "LoRA, all linear layers"
RATES = (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
RANKS = (1, 2, 4, 8, 16)


def measure_registers(setting):
    """One run with its two held-out losses."""
    model, run = train_run(setting)
    return run | {kind: held_out_loss(model, kind, setting.held_out) for kind in ("pirate", "plain")}


def settings_of_rates():
    """What is run first: a sweep of the rate for every method."""
    return [Setting(method, rate) for method in METHODS for rate in RATES]


def settings_at_best_rates(rates):
    """What is run next, by part, after the runs `rates`: each method at its best rate with every seed; every
    rank with every seed; and the control on shuffled text.
    """
    best = {method: lowest(runs_of(rates, method=method))["rate"] for method in METHODS}
    return {
        "methods": [Setting(method, best[method], seed=seed) for method in METHODS for seed in SEEDS],
        "ranks": [Setting(LORA, best[LORA], rank, seed=seed) for rank in RANKS for seed in SEEDS],
        "shuffled": [Setting(method, best[method], task="shuffled words") for method in ("full", LORA)],
    }


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
    fit(model, *story_data("questions", 6400), 400, 3e-3, warmup=10)
    save_adapter(model, folder)
    return folder


def fine_tuning_runs():
    """Make everything anew: what is stored, as a dict; and the adapter that answers questions."""
    times = step_times()  # first, while nothing else is running
    runs = {"rates": in_parallel(settings_of_rates(), measure_registers)}
    for part, settings in settings_at_best_rates(runs["rates"]).items():
        runs[part] = in_parallel(settings, measure_registers)
    torch.set_num_threads(1)
    train_questions(QUESTIONS)
    return {"floor": round(floor_per_token("pirate"), 5), **runs, "milliseconds_per_step": times}
