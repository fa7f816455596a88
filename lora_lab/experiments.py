"""The runs of lesson 08 that take longer than a lesson should: `python -m lora_lab.experiments` makes them
again, in a quarter of an hour, and writes lora_lab/data/.

A run takes a fresh model through one pass over 1,600 stories of the new register, 100 steps, and measures the
loss on stories that it has not seen, of the new register and of the old.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lora_lab.adapters import save_adapter
from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import GPT2_SIZES, MODEL_NAME, apply_lora_to_gpt2, gpt2_blocks, load_gpt2, load_tokenizer
from lora_lab.stories import encode, samples
from lora_lab.training import IGNORED, evaluate, fit

DATA = Path(__file__).parent / "data"
STORED = DATA / "fine_tuning.json"
QUESTIONS = DATA / "questions"  # the folder of an adapter that answers questions

LORA_TARGETS = {
    "LoRA, all linear layers": (*ATTENTION_TARGETS, "fc", "proj"),
    "LoRA on q, k, v, o": ATTENTION_TARGETS,
}
METHODS = ("full", *LORA_TARGETS, "last block", "biases")
RATES = (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
RANKS = (1, 2, 4, 8, 16)
SEEDS = (0, 1, 2)
RANK, ALPHA = 8, 16
STORIES, HELD_OUT, STEPS, WARMUP = 1600, 200, 100, 10


def make_trainable(model, method, rank=RANK):
    """Let what `method`, one of METHODS, trains ask for a gradient, and nothing else. `model` is changed in
    place and returned. KeyError if there is no such method.
    """
    if method in LORA_TARGETS:
        return apply_lora_to_gpt2(model, rank, ALPHA, LORA_TARGETS[method])
    chosen = {
        "full": list(model.parameters()),
        "last block": list(gpt2_blocks(model)[-1].parameters()),
        "biases": [parameter for name, parameter in model.named_parameters() if name.endswith("bias")],
    }[method]
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return model


def register_data(register, n, held_out=False):
    """(ids, labels) of `n` stories of `register`, for `fit` and `evaluate`. Of a question only the answer has
    labels.
    """
    tokenizer = load_tokenizer()
    texts, _ = samples(register, n, seed=1, held_out=held_out)
    length = max(map(len, tokenizer(texts)["input_ids"])) + 2
    return encode(tokenizer, texts, length, answers_only=register == "questions")


def shuffle_words(ids, labels):
    """The same tokens of each row in a drawn order, between the same two ends: no grammar is left."""
    generator = torch.Generator().manual_seed(0)
    ids, labels = ids.clone(), labels.clone()
    for row in range(len(ids)):
        inner = (labels[row] != IGNORED).sum().item() - 2
        order = 1 + torch.randperm(inner, generator=generator)
        ids[row, 1 : inner + 1] = labels[row, 1 : inner + 1] = ids[row, order]
    return ids, labels


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
    runs = {"rates": in_parallel([{"method": m, "rate": rate} for m in METHODS for rate in RATES])}
    best = {m: best_rate(runs["rates"], m) for m in METHODS}
    lora = "LoRA, all linear layers"
    runs["methods"] = in_parallel(
        [{"method": m, "rate": best[m], "seed": seed} for m in METHODS for seed in SEEDS]
    )
    runs["ranks"] = in_parallel(
        [{"method": lora, "rate": best[lora], "seed": seed, "rank": r} for r in RANKS for seed in SEEDS]
    )
    runs["shuffled"] = in_parallel([{"method": m, "rate": best[m], "shuffle": True} for m in ("full", lora)])
    return runs


def floor_per_token(register):
    """The entropy of the held-out stories of `register`, in nats per predicted token: no loss is lower."""
    _, nats = samples(register, HELD_OUT, seed=1, held_out=True)
    _, labels = register_data(register, HELD_OUT, held_out=True)
    return sum(nats) / (labels[:, 1:] != IGNORED).sum().item()


def in_parallel(settings, run=measure):
    """`run` with each of `settings`, in two processes of one thread each, whose results do not depend on the
    machine's cores.
    """
    start = {"max_workers": 2, "mp_context": get_context("spawn")}
    with ProcessPoolExecutor(**start, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(run, **setting) for setting in settings]
        runs = []
        for setting, one in zip(settings, waiting, strict=True):
            runs.append(one.result())
            print(f"{len(runs)} of {len(settings)}: {setting}", flush=True)
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


def random_gpt2_small():
    """A model of the shape of GPT-2 small, with random weights and no dropout."""
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**GPT2_SIZES["gpt2"], **no_dropout))
    model.loss_type = "ForCausalLM"
    return model


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
