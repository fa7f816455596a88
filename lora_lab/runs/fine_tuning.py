"""The runs of lesson 10 that take longer than a lesson should.

Five ways to fine-tune on stories of the new register, each with five or six rates and three seeds. A run
measures the loss on pirate stories that it has not seen, and on plain ones by the kind of word. Runs at the
best rates, cut short, show how these losses move along training.
"""

import time
from dataclasses import replace

import torch

from lora_lab.adapters import save_adapter
from lora_lab.gpt2 import MODEL_NAME, apply_lora_to_gpt2, load_gpt2, random_gpt2_small
from lora_lab.runs import DATA, at_best
from lora_lab.runs.methods import ALPHA, LORA_TARGETS, METHODS, RANK, make_trainable
from lora_lab.runs.one_run import SEEDS, Setting, in_parallel, losses_by_part, train_run
from lora_lab.story_gpt2.batches import floor_per_token, story_data
from lora_lab.training import fit

QUESTIONS = DATA / "questions"  # the folder of an adapter that answers questions
LORA = "LoRA, all linear layers"
PARTS = ("pirate words", "common words", "recalled words")  # of plain stories
HELD_OUT = 400  # half to choose a rate on, half to report on
# Factors of two, with a worse rate on both sides of each best.
RATES = {
    "full": [0.000125 * 2**i for i in range(6)],
    LORA: [0.000625 * 2**i for i in range(6)],
    "LoRA on q, k, v, o": [0.0025 * 2**i for i in range(5)],
    "last block": [0.00125 * 2**i for i in range(5)],
    "biases": [0.02 * 2**i for i in range(5)],
}
ALONG = (12, 25, 50)  # of the 100 steps
SHORT = Setting(LORA, 0.005, stories=160, steps=10, held_out=40)  # quickly made again


def measure_registers(setting):
    """One run with its losses, on pirate stories and on plain ones by the kind of word."""
    model, run = train_run(setting)
    return run | losses_by_part(model, setting.task, setting.held_out, PARTS)


def settings_of_registers():
    """What is run first: a sweep of the rate for every method, one seed."""
    return [Setting(method, rate, held_out=HELD_OUT) for method in METHODS for rate in RATES[method]]


def settings_of_seeds():
    """The same with two more seeds."""
    return [replace(setting, seed=seed) for setting in settings_of_registers() for seed in SEEDS[1:]]


def settings_along(runs):
    """What is run next: full fine-tuning and LoRA at the best rate of `runs`, cut short. Since the rate is
    the same at every step after the warm-up, a run of 25 steps is the beginning of a run of 100.
    """
    best = {method: at_best(runs, method=method)[0]["rate"] for method in ("full", LORA)}
    return [Setting(*pair, steps=steps, held_out=HELD_OUT) for pair in best.items() for steps in ALONG]


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
    runs = {
        "sweeps": in_parallel(settings_of_registers(), measure_registers),
        "seeds": in_parallel(settings_of_seeds(), measure_registers),
    }
    runs["along"] = in_parallel(settings_along(runs["sweeps"] + runs["seeds"]), measure_registers)
    runs["short"] = in_parallel([SHORT], measure_registers)
    torch.set_num_threads(1)
    train_questions(QUESTIONS)
    floor = floor_per_token("pirate", HELD_OUT, first=HELD_OUT // 2)
    base = losses_by_part(load_gpt2(), "pirate", HELD_OUT, PARTS)
    return {"floor": round(floor, 5), "base": base, **runs, "milliseconds_per_step": times}
