"""The stored runs of lesson 10: complete, what the package makes, and what the lesson says of them."""

import json
import math

import pytest

from lora_lab.adapters import load_adapter
from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import at_best, read_runs, runs_of, share_of_way
from lora_lab.runs.fine_tuning import (
    ALONG,
    HELD_OUT,
    LORA,
    PARTS,
    QUESTIONS,
    RATES,
    SHORT,
    settings_along,
    settings_of_registers,
    settings_of_seeds,
)
from lora_lab.runs.methods import METHODS
from lora_lab.runs.one_run import losses_by_part
from lora_lab.story_gpt2.batches import floor_per_token, story_data
from lora_lab.training import evaluate

STORED = read_runs("fine_tuning")
COUNTS = {"sweeps": 27, "seeds": 54, "along": 6, "short": 1}


def best_three(method):
    return at_best(STORED["sweeps"] + STORED["seeds"], method=method)


def test_no_run_is_missing_and_none_is_there_twice():
    asked = {
        "sweeps": settings_of_registers(),
        "seeds": settings_of_seeds(),
        "along": settings_along(STORED["sweeps"] + STORED["seeds"]),
        "short": [SHORT],
    }
    assert {part: len(settings) for part, settings in asked.items()} == COUNTS
    for part, settings in asked.items():
        assert len(set(settings)) == len(settings)
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()


def test_every_best_rate_has_a_worse_one_on_both_sides():
    for method, rates in RATES.items():
        best = best_three(method)
        assert rates[0] < best[0]["rate"] < rates[-1], method
        assert [run["seed"] for run in best] == [0, 1, 2], method


def test_the_runs_along_training_are_at_the_best_by_the_half_that_is_not_reported():
    made = [
        setting.asked() | {"chosen": setting.rate, "pirate": -setting.rate}
        for setting in settings_of_registers()
    ]
    for setting in settings_along(made):
        assert setting.rate == RATES[setting.method][0]


def test_the_base_and_the_floor_are_those_of_the_model_and_the_stories():
    floor = floor_per_token("pirate", HELD_OUT, first=HELD_OUT // 2)
    assert STORED["floor"] == pytest.approx(floor, abs=1e-5)
    assert STORED["base"] == pytest.approx(losses_by_part(load_gpt2(), "pirate", HELD_OUT, PARTS), rel=1e-3)


def test_no_run_is_below_the_floor():
    losses = [run["pirate"] for part in COUNTS for run in STORED[part]]
    assert all(math.isfinite(loss) and loss > STORED["floor"] for loss in losses)


def test_the_loss_along_training_falls_to_that_of_the_whole_run():
    for method in ("full", LORA):
        along = runs_of(STORED["along"], method=method)
        losses = [run["pirate"] for run in (*along, best_three(method)[0])]
        assert [run["steps"] for run in along] == list(ALONG) and losses == sorted(losses, reverse=True)


def test_every_way_comes_nearly_the_whole_way_and_switches_rather_than_forgets():
    for method in METHODS:
        for run in best_three(method):
            assert share_of_way(STORED, run) > 0.95, method
            assert run["pirate words"] > 4 * STORED["base"]["pirate words"], method
            assert run["common words"] < STORED["base"]["common words"], method
            assert run["recalled words"] < STORED["base"]["recalled words"] + 0.01, method


def test_a_rate_that_is_too_high_forgets():
    for method in ("full", LORA):
        last = runs_of(STORED["sweeps"], method=method)[-1]
        assert last["common words"] > STORED["base"]["common words"] and last["recalled words"] > 0.05


def test_the_stored_adapter_answers_and_the_base_does_not():
    ids, labels = story_data("questions", 100, held_out=True)
    base = load_gpt2()
    before = evaluate(base, ids, labels)
    adapted = load_adapter(base, QUESTIONS)
    assert evaluate(adapted, ids, labels) < 0.1 * before


def test_the_stored_adapter_names_its_base_and_no_folder():
    config = json.loads((QUESTIONS / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "story-gpt2"
    assert sum(file.stat().st_size for file in QUESTIONS.iterdir()) < 1e6
