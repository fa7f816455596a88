"""The stored runs of lesson 12: complete, what the package makes, and what the lesson says of them."""

import math
from itertools import pairwise

from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import at_best, choosing, read_runs, runs_of
from lora_lab.runs.choosing import (
    ALPHAS,
    PLACES,
    SHORT,
    VARIANTS,
    choosing_seeds,
    choosing_sweeps,
    settings_at_one_rate,
)
from lora_lab.runs.facts import LORA, of
from lora_lab.story_gpt2.batches import floor_per_token

PIRATE = "pirate places"
STORED, FACTS = read_runs("choosing"), read_runs("facts")


def best_rate(runs):
    return at_best(runs)[0]["rate"]


def test_no_run_is_missing_and_none_is_there_twice():
    asked = choosing_sweeps() | {"short": [SHORT]} | settings_at_one_rate()
    for part, more in choosing_seeds().items():
        asked[part] = asked[part] + more
    sizes = {"places": 18, "pirate places": 18, "variants": 27, "alphas": 6}
    sizes |= {"short": 1, "few": 6, "turns": 7}
    assert {part: len(settings) for part, settings in asked.items()} == sizes
    assert {part: len(runs) for part, runs in STORED.items()} == sizes
    for part, settings in asked.items():
        assert len(set(settings)) == len(settings)
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()


def test_all_losses_are_finite_and_above_the_floor():
    """That of pirate stories is for 200 held-out ones, of which half were used here: hence the tolerance."""
    floor = floor_per_token("pirate") - 0.01
    for part in ("places", "variants", "alphas"):
        assert all(math.isfinite(run["facts"]) and run["facts"] > FACTS["floor"] for run in STORED[part])
    assert all(run[key] > floor for run in STORED[PIRATE] for key in ("chosen", "pirate"))
    for part in ("few", "turns"):
        assert all(
            math.isfinite(run[key]) and run[key] > floor
            for run in STORED[part]
            for key in ("pirate", "plain")
        )


def test_every_best_rate_has_a_worse_one_on_both_sides():
    for targets, _, *rates in PLACES.values():
        for part, tried in zip(("places", "pirate places"), rates, strict=True):
            runs = runs_of(STORED[part], targets=", ".join(targets))
            assert best_rate(runs) == tried[1], (part, targets)
    for method, rates in VARIANTS.items():
        assert best_rate(runs_of(STORED["variants"], method=method)) == rates[1], method
    for (rank, alpha), rates in ALPHAS.items():
        best = best_rate(runs_of(STORED["alphas"], rank=rank, alpha=alpha))
        assert min(rates) < best < max(rates), (rank, alpha)


def test_rates_are_factors_of_two():
    places = [rates for *_, facts, pirate in PLACES.values() for rates in (facts, pirate)]
    for rates in [*places, *ALPHAS.values(), *VARIANTS.values()]:
        assert all(second == 2 * first for first, second in pairwise(rates))


def test_what_is_compared_was_run_with_the_same_seeds_and_stories():
    """So that the lesson may subtract seed by seed."""
    keys = ("task", "stories", "steps", "warmup", "held_out")

    def asked(runs):
        return {tuple(run[key] for key in keys) for run in runs}

    assert asked(STORED["places"] + STORED["variants"] + STORED["alphas"]) == asked(FACTS["sweeps"])
    assert len(asked(STORED["pirate places"])) == 1
    groups = [
        runs_of(STORED[part], targets=", ".join(targets))
        for part in ("places", "pirate places")
        for targets, *_ in PLACES.values()
    ] + [runs_of(STORED["variants"], method=method) for method in VARIANTS]
    for runs in groups:
        assert [run["seed"] for run in at_best(runs)] == [0, 1, 2]


# What the lesson says


def test_the_places_have_one_budget():
    counts = {run["targets"]: run["trainable"] for run in STORED["places"]}
    assert len(counts) == len(PLACES) and set(counts.values()) == {4 * 5120}
    assert {run["trainable"] for run in STORED["pirate places"]} == {4 * 5120}
    assert {run["trainable"] for run in of(FACTS["sweeps"], LORA, 2)} == {4 * 4608}


def test_what_is_measured_at_one_rate(monkeypatch):
    monkeypatch.setattr(choosing, "train_run", lambda setting: (load_gpt2(), {"asked": setting}))
    monkeypatch.setattr(choosing, "evaluate", lambda model, ids, labels: len(ids) + 0.123456)
    monkeypatch.setattr(choosing, "held_out_loss", lambda model, kind, n: (kind, n))
    monkeypatch.setattr(choosing, "row_changes", lambda model, base: "turned")
    setting = settings_at_one_rate()["turns"][0]
    expected = {"asked": setting, "train": choosing.FEW + 0.12346}
    expected |= {kind: (kind, setting.held_out) for kind in ("pirate", "plain")}
    assert choosing.measure_at_one_rate(setting) == expected
    assert choosing.measure_at_one_rate(setting, turns=True) == expected | {"changes": "turned"}
