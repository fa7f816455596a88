"""The stored runs of lesson 11: complete, what the package makes, and what the lesson says of them."""

import numpy as np
import pytest
import torch

from lora_lab.gpt2 import dense_weights, load_gpt2, lora_layers
from lora_lab.runs import at_best, lowest, read_runs, runs_of
from lora_lab.runs.one_run import fresh_model, halves
from lora_lab.runs.why_low_rank import (
    CUTS,
    DENSE_RATES,
    FACTS,
    FIRST_STEPS,
    HELD_OUT,
    KEPT,
    PAIRS,
    SKIPPED,
    SUBSPACE_RATES,
    TASKS,
    dense_setting,
    energy_at,
    first_sweeps,
    later_settings,
    load_pairs,
    load_update,
    looks,
    lora_settings,
    losses_of_parts,
    measure_update,
    some_directions,
)
from lora_lab.spectra import truncated, with_updates
from lora_lab.story_gpt2.batches import floor_per_token
from lora_lab.training import evaluate

STORED = read_runs("why_low_rank")
RUNS = STORED["sweeps"] + STORED["seeds"]
MADE = later_settings(STORED["sweeps"])


def loss(model, stories, kind=FACTS):
    """On the first of the held-out stories that are reported."""
    return evaluate(model, *(part[:stories] for part in halves(kind, HELD_OUT)[1]))


def means(runs, key):
    return np.mean([list(run[key].values()) for run in runs])


def test_no_run_is_missing_and_none_is_there_twice():
    asked = {"sweeps": first_sweeps(), **MADE, "LoRA": lora_settings()}
    assert [len(settings) for settings in asked.values()] == [9, 6, 3, 3, 3]
    for part, settings in asked.items():
        assert len(set(settings)) == len(settings)
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()
    for run in [run for part in ("sweeps", "seeds", "nonsense") for run in STORED[part]]:
        assert run["method"] == "subspace" or len(run["truncated"]) == len(CUTS)


def test_every_best_rate_has_a_worse_one_on_both_sides():
    for task, rates in DENSE_RATES.items():
        assert lowest(runs_of(STORED["sweeps"], method="dense", task=task), "chosen")["rate"] == rates[1]
    assert lowest(runs_of(STORED["sweeps"], method="subspace"), "chosen")["rate"] == SUBSPACE_RATES[1]


def test_the_rate_is_chosen_on_the_half_that_is_not_reported():
    made = [setting.asked() | {"chosen": setting.rate, "loss": -setting.rate} for setting in first_sweeps()]
    rates = {setting.rate for setting in later_settings(made)["seeds"]}
    assert rates == {*(min(rates) for rates in DENSE_RATES.values()), min(SUBSPACE_RATES)}


def test_the_first_step_made_again_is_the_stored_one():
    """On another processor rounding differs a little."""
    again, _ = measure_update(dense_setting(FACTS, DENSE_RATES[FACTS][1], steps=FIRST_STEPS[0]))
    stored = STORED["first steps"][0]
    assert again.keys() == stored.keys()
    for key in ("loss", "chosen"):
        assert again[key] == pytest.approx(stored[key], rel=0.01)
    for key in ("size", "stable", "energy"):
        for name in again[key]:
            assert again[key][name] == pytest.approx(stored[key][name], rel=0.02, abs=1e-4), (key, name)


def test_the_stored_update_is_that_of_the_run_and_has_its_losses():
    (run,) = [run for run in at_best(RUNS, method="dense", task=FACTS) if run["seed"] == 0]
    updates = load_update()
    assert list(updates) == list(dense_weights(load_gpt2()))
    for key, values in looks(updates).items():
        for name, value in values.items():
            assert value == pytest.approx(run[key][name], rel=0.01, abs=1e-3), (key, name)
    assert loss(with_updates(updates), 200) == pytest.approx(run["loss"], abs=1e-3)


def test_the_stored_parts_are_those_of_the_update():
    parts = STORED["parts"]
    assert np.shape(parts["part"]) == (len(KEPT), len(SKIPPED)) and len(parts["random"]) == len(KEPT)
    run = at_best(RUNS, method="dense", task=FACTS)[0]
    whole = [row[SKIPPED.index(0)] for row in parts["part"]]
    assert whole == pytest.approx([run["truncated"][CUTS.index(keep)] for keep in KEPT], abs=1e-3)
    updates = {name: some_directions(update, 1, 2) for name, update in load_update().items()}
    stored = parts["part"][KEPT.index(2)][SKIPPED.index(1)]
    assert loss(with_updates(updates), 200) == pytest.approx(stored, abs=1e-3)
    assert parts["random"] == pytest.approx([STORED["base"][FACTS]] * len(KEPT), abs=0.02)


def test_some_directions_are_the_terms_that_were_asked_for():
    update = np.random.default_rng(0).normal(size=(6, 9))
    assert np.allclose(some_directions(update, 0, 2), truncated({"": update}, 2)[""])
    rest = [some_directions(update, skip, keep) for skip, keep in ((0, 1), (1, 3), (4, 9))]
    assert np.allclose(sum(rest), update)


def test_a_random_part_has_the_norm_of_the_strongest_directions(monkeypatch):
    seen = []

    def judged(model, *held_out):
        seen.append({name: W.detach().numpy() for name, W in dense_weights(model).items()}["0.q"])
        return 0.0

    monkeypatch.setattr("lora_lab.runs.why_low_rank.evaluate", judged)
    monkeypatch.setattr("lora_lab.runs.why_low_rank.KEPT", (2,))
    monkeypatch.setattr("lora_lab.runs.why_low_rank.SKIPPED", (0,))
    updates = load_update()
    losses_of_parts(updates)
    start = dense_weights(load_gpt2())["0.q"].detach().numpy()
    kept, drawn = (W - start for W in seen)
    assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(kept), rel=1e-3)
    assert abs((kept * drawn).sum()) < 0.2 * np.linalg.norm(kept) ** 2
    assert np.linalg.matrix_rank(drawn, tol=1e-4) == 2


def test_the_base_and_the_floor_are_those_of_the_stories_that_are_reported():
    for task in TASKS:
        assert STORED["base"][task] == pytest.approx(loss(load_gpt2(), 200, task), abs=1e-3)
        assert STORED["floor"][task] == pytest.approx(floor_per_token(task, 400, first=200), abs=1e-5)
        for run in runs_of([*STORED["sweeps"], *STORED["seeds"]], task=task):
            assert STORED["floor"][task] < run["loss"] < STORED["base"][task]


def test_nonsense_has_the_simplest_update_and_facts_need_more_directions_than_pirate_speech():
    facts, pirate = (at_best(RUNS, method="dense", task=task) for task in TASKS)
    nonsense = STORED["nonsense"]
    assert means(nonsense, "stable") < means(pirate, "stable") < means(facts, "stable")
    assert min(run["loss"] for run in nonsense) > 4 * STORED["base"]["pirate"]


def test_the_update_on_facts_cannot_be_cut_to_few_directions_and_that_on_pirate_speech_can():
    for task, low, high in ((FACTS, 0, 0.2), ("pirate", 0.75, 0.95)):
        base, floor = STORED["base"][task], STORED["floor"][task]
        for run in at_best(RUNS, method="dense", task=task):
            assert low < (base - run["truncated"][CUTS.index(1)]) / (base - floor) < high


def test_the_stored_pairs_are_complete_and_began_where_their_seed_says():
    pairs = load_pairs()
    shapes = {name: W.shape for name, W in dense_weights(load_gpt2()).items()}
    asked = {(rank, seed, name) for rank, _, seed in PAIRS for name in shapes if rank < 64 or name[2] in "qv"}
    assert set(pairs) == asked
    for (rank, _, name), (A, B) in pairs.items():
        assert A.shape == (rank, shapes[name][1]) and B.shape == (shapes[name][0], rank) and abs(B).max() > 0
    for setting in lora_settings():
        torch.manual_seed(setting.seed)
        start = lora_layers(fresh_model(setting))["2.v"].A.detach().numpy()
        A, _ = pairs[setting.rank, setting.seed, "2.v"]
        assert np.corrcoef(A.ravel(), start.ravel())[0, 1] > 0.5  # as no other draw would be


def test_the_stored_energies_are_shares():
    update = np.diag([4.0, 2.0, 1.0])
    assert energy_at(update, ranks=(1, 2, 3)) == [round(16 / 21, 4), round(20 / 21, 4), 1]
