"""The stored runs of lesson 09: complete, what the package makes, and what the lesson says of them."""

import json

import numpy as np
import pytest
import torch

from lora_lab.gpt2 import load_gpt2, load_tokenizer
from lora_lab.runs import why_low_rank
from lora_lab.runs.fine_tuning import STEPS
from lora_lab.runs.why_low_rank import (
    CUTS,
    MORE_STEPS,
    PAIRS,
    STORED_RANKS,
    all_settings,
    energy_at,
    load_pairs,
    one_run,
)
from lora_lab.spectra import random_similarity, subspace_similarity, top_directions
from lora_lab.story_gpt2.batches import TASKS, in_new_words, register_data, shuffle_labels, task_data
from lora_lab.training import IGNORED, evaluate

STORED = json.loads(STORED_RANKS.read_text(encoding="utf-8"))


def runs(**wanted):
    return [run for run in STORED["runs"] if all(run[key] == value for key, value in wanted.items())]


def test_no_run_is_missing_and_none_is_there_twice():
    def key(run):
        names = {"rank": 8, "seed": 0, "steps": STEPS}
        return run["task"], run["method"], run["rate"], *(run.get(name, names[name]) for name in names)

    assert sorted(map(key, STORED["runs"])) == sorted(map(key, all_settings()))
    assert all(len(run["truncated"]) == len(CUTS) for run in runs(method="dense"))


def test_no_run_is_below_the_floor_and_every_real_task_is_learned_better_than_the_base():
    for run in STORED["runs"]:
        if run["task"] != "shuffled labels":
            assert STORED["floor"][run["task"]] < run["loss"] < STORED["base"][run["task"]]


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and a hundred steps may magnify it a little."""
    (stored,) = runs(method="subspace", rank=16)
    again, _ = one_run(**{name: stored[name] for name in ("task", "method", "rate", "rank", "seed", "steps")})
    assert again.pop("loss") == pytest.approx(stored["loss"], rel=0.01)
    assert again == {name: value for name, value in stored.items() if name != "loss"}


def test_a_run_has_its_steps_rate_and_seed_and_is_measured_on_held_out_stories(monkeypatch):
    asked = []

    def data(task, n, held_out=False):
        asked.append((task, n, held_out))
        return torch.zeros(n, 1), torch.zeros(n, 1)

    def no_fit(model, ids, labels, steps, rate, warmup, seed):
        asked.append((steps, rate, seed))

    monkeypatch.setattr(why_low_rank, "task_data", data)
    monkeypatch.setattr(why_low_rank, "fit", no_fit)
    monkeypatch.setattr(why_low_rank, "evaluate", lambda *data: 0)
    why_low_rank.train_run("new words", "lora", 0.02, rank=1, seed=3, steps=MORE_STEPS)
    assert asked == [("new words", 1600, False), (400, 0.02, 3), ("new words", 200, True)]


def test_the_stored_bases_are_those_of_the_model():
    for task in TASKS:
        loss = evaluate(load_gpt2(), *task_data(task, 200, held_out=True))
        assert loss == pytest.approx(STORED["base"][task], abs=1e-3)


def test_nonsense_has_the_simpler_update_and_ruins_the_model():
    (real,), (nonsense,) = runs(task="pirate", method="dense"), runs(task="shuffled labels")
    for name in real["stable"]:
        assert nonsense["energy"][name][2] > 0.5
    assert np.mean(list(nonsense["stable"].values())) < np.mean(list(real["stable"].values()))
    assert nonsense["loss"] > 4 * STORED["base"]["pirate"]


def test_on_new_words_lora_is_slower_at_every_rank_and_rank_1_hardly_learns():
    def loss(**wanted):
        return min(run["loss"] for run in runs(task="new words", **wanted))

    early, late = (loss(method="dense", steps=steps) for steps in (STEPS, MORE_STEPS))
    for rank in (8, 64):
        assert loss(method="lora", rank=rank, steps=STEPS) > 3 * early
        assert 2 * late < loss(method="lora", rank=rank, steps=MORE_STEPS) < early
    assert loss(method="lora", rank=1, steps=MORE_STEPS) > 3 * early


def test_the_stored_pairs_are_complete_and_share_their_top_direction():
    pairs = load_pairs()
    names = [f"{number}.{target}" for number in range(4) for target in "qv"]
    assert set(pairs) == {(rank, seed, name) for rank, seed in PAIRS for name in names}
    for (rank, _, _), (A, B) in pairs.items():
        assert (A.shape, B.shape) == ((rank, 128), (128, rank)) and abs(B).max() > 0
    shared = [
        subspace_similarity(
            top_directions(pairs[8, 0, name][0], 1)[1], top_directions(pairs[64, 1, name][0], 8)[1]
        )
        for name in names
    ]
    assert min(shared) > 3 * random_similarity(128, 1, 8)


def test_the_stored_energies_are_shares():
    update = np.diag([4.0, 2.0, 1.0])
    assert energy_at(update, ranks=(1, 2, 3)) == [round(16 / 21, 4), round(20 / 21, 4), 1]


def test_shuffled_labels_are_those_of_the_story_and_the_story_stays():
    ids, labels = register_data("pirate", 20)
    new_ids, new_labels = shuffle_labels(ids, labels)
    assert torch.equal(new_ids, ids) and torch.equal(new_labels[:, 0], labels[:, 0])
    assert torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels.sort(dim=1).values, labels.sort(dim=1).values)
    assert (new_labels != labels).float().sum() > 0.8 * (labels != IGNORED).sum()
    assert torch.equal(
        task_data("shuffled labels", 20, held_out=True)[1], register_data("pirate", 20, True)[1]
    )


def test_new_words_are_one_to_one_and_other_words():
    ids, labels = register_data("plain", 50)
    new_ids, new_labels = in_new_words(ids, labels)
    end = load_tokenizer().eos_token_id
    assert torch.equal(new_ids == end, ids == end) and torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels[labels != IGNORED], new_ids[labels != IGNORED])
    pairs = {*zip(ids.flatten().tolist(), new_ids.flatten().tolist(), strict=True)}
    assert len(pairs) == len(ids.unique()) == len(new_ids.unique())
    assert all(old != new for old, new in pairs if old != end)
    assert set(new_ids.unique().tolist()) <= set(register_data("plain", 1600)[0].unique().tolist())
