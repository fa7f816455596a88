"""The stored runs of lesson 11: complete, what the package makes, and what the lesson says of them."""

import numpy as np
import pytest

from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import lowest, read_runs, runs_of
from lora_lab.runs.one_run import Setting, held_out_loss
from lora_lab.runs.why_low_rank import (
    CUTS,
    PAIRS,
    TASKS,
    energy_at,
    load_pairs,
    measure_update,
    settings_by_task,
)
from lora_lab.spectra import random_similarity, subspace_similarity, top_directions

STORED = read_runs("why_low_rank")


def runs(**wanted):
    return runs_of(STORED["runs"], **wanted)


def test_no_run_is_missing_and_none_is_there_twice():
    settings = settings_by_task()
    assert len(set(settings)) == len(settings) == 26
    for run, setting in zip(STORED["runs"], settings, strict=True):
        assert setting.asked().items() <= run.items()
    assert all(len(run["truncated"]) == len(CUTS) for run in runs(method="dense"))


def test_no_run_is_below_the_floor_and_every_real_task_is_learned_better_than_the_base():
    for run in STORED["runs"]:
        if run["task"] != "shuffled labels":
            assert STORED["floor"][run["task"]] < run["loss"] < STORED["base"][run["task"]]


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and a hundred steps may magnify it a little."""
    (stored,) = runs(method="subspace", d=16)
    again, _ = measure_update(Setting("subspace", 1e-3, d=16))
    assert again.pop("loss") == pytest.approx(stored["loss"], rel=0.01)
    assert again == {name: value for name, value in stored.items() if name != "loss"}


def test_the_stored_bases_are_those_of_the_model():
    for task in TASKS:
        assert held_out_loss(load_gpt2(), task, 200) == pytest.approx(STORED["base"][task], abs=1e-3)


def test_nonsense_has_the_simpler_update_and_ruins_the_model():
    (real,), (nonsense,) = runs(task="pirate", method="dense"), runs(task="shuffled labels")
    for name in real["stable"]:
        assert nonsense["energy"][name][2] > 0.5
    assert np.mean(list(nonsense["stable"].values())) < np.mean(list(real["stable"].values()))
    assert nonsense["loss"] > 4 * STORED["base"]["pirate"]


def test_on_new_words_lora_is_slower_at_every_rank_and_rank_1_hardly_learns():
    def loss(**wanted):
        return lowest(runs(task="new words", **wanted), "loss")["loss"]

    early, late = (loss(method="dense", steps=steps) for steps in (100, 400))
    for rank in (8, 64):
        assert loss(method="LoRA", rank=rank, steps=100) > 3 * early
        assert 2 * late < loss(method="LoRA", rank=rank, steps=400) < early
    assert loss(method="LoRA", rank=1, steps=400) > 3 * early


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
