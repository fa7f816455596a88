"""The stored runs of lesson 12: complete, what the package makes, and what the lesson says of them."""

import math

import pytest

from lora_lab.gpt2 import ALL_TARGETS
from lora_lab.runs import lowest, read_runs, runs_of
from lora_lab.runs.choosing import (
    FIRST_STEPS,
    HALF,
    PLACES,
    RULE_RATES,
    RULES,
    measure_choice,
    settings_of_seeds,
    settings_of_sweeps,
)
from lora_lab.runs.one_run import Setting
from lora_lab.story_gpt2.batches import floor_per_token

STORED = read_runs("choosing")


def test_no_run_is_missing_and_none_is_there_twice():
    asked = settings_of_sweeps()
    for part, more in settings_of_seeds(STORED).items():
        asked[part] = asked[part] + more
    sizes = {"rules": 20, "alphas": 10, "places": 25, "few": 6, "first": 19, "turns": 7}
    assert {part: len(settings) for part, settings in asked.items()} == sizes
    for part, settings in asked.items():
        assert len(set(settings)) == len(settings)
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()


def test_all_losses_are_finite_and_above_the_floor():
    """The floor is that of 200 held-out stories, and half of them were used here: hence the tolerance."""
    floor = floor_per_token("pirate") - 0.01
    for part in STORED.values():
        assert all(
            math.isfinite(run[key]) and run[key] > floor for run in part for key in ("pirate", "plain")
        )


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and the steps may magnify it a little."""
    stored, *_ = runs_of(STORED["first"], method="LoRA")
    again = measure_choice(Setting("LoRA", 1e-3, **(HALF | FIRST_STEPS)))
    for loss in ("train", "pirate", "plain"):
        assert again.pop(loss) == pytest.approx(stored[loss], rel=0.01)
    assert again.items() <= stored.items()


# What the lesson says


def test_the_places_have_one_budget():
    counts = {run["targets"]: run["trainable"] for run in STORED["places"]}
    assert len(counts) == len(PLACES)
    assert counts.pop(", ".join(ALL_TARGETS)) == 4 * 4608 and set(counts.values()) == {4 * 5120}


def test_divided_by_r_the_best_rate_stays_and_with_plain_alpha_it_falls():
    best = {
        (rule, rank): lowest(runs_of(STORED["rules"], rank=rank, alpha=RULES[rule](rank)))["rate"]
        for rule, rank in RULE_RATES
    }
    assert {best["alpha / r", rank] for rank in (1, 8, 64)} == {0.01}
    assert best["plain alpha", 1] > best["alpha / r", 8] > best["plain alpha", 64]


def test_every_sweep_of_a_rank_is_finished():
    """The best rate has a worse one on both sides."""
    for (rule, rank), rates in RULE_RATES.items():
        runs = runs_of(STORED["rules"], rank=rank, alpha=RULES[rule](rank))
        assert min(rates) < lowest(runs)["rate"] < max(rates)
