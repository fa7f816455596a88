"""The stored runs of lesson 10: complete, what the package makes, and what the lesson says of them."""

import json
import math

import pytest

from lora_lab.adapters import load_adapter
from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import read_runs, runs_of
from lora_lab.runs.fine_tuning import (
    LORA,
    QUESTIONS,
    measure_registers,
    settings_at_best_rates,
    settings_of_rates,
)
from lora_lab.runs.one_run import SEEDS, Setting
from lora_lab.story_gpt2.batches import floor_per_token, story_data
from lora_lab.training import evaluate

STORED = read_runs("fine_tuning")
PARTS = ("rates", "methods", "ranks", "shuffled")


def test_no_run_is_missing_and_none_is_there_twice():
    asked = {"rates": settings_of_rates(), **settings_at_best_rates(STORED["rates"])}
    assert {part: len(settings) for part, settings in asked.items()} == dict(
        zip(PARTS, (45, 15, 15, 2), strict=True)
    )
    for part, settings in asked.items():
        assert len(set(settings)) == len(settings)
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()


def test_after_the_rates_each_method_goes_on_at_its_best():
    rates = [{"method": s.method, "rate": s.rate, "pirate": abs(s.rate - 3e-4)} for s in settings_of_rates()]
    runs_of(rates, method=LORA, rate=1e-1)[0]["pirate"] = -1
    for part, settings in settings_at_best_rates(rates).items():
        for setting in settings:
            assert setting.rate == (1e-1 if setting.method == LORA else 3e-4), part


def test_the_same_run_in_two_parts_has_the_same_numbers():
    for part in ("methods", "ranks"):
        for run in runs_of(STORED[part], seed=0):
            assert run in STORED["rates"] or run.get("rank", 8) != 8


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and a hundred steps may magnify it a little."""
    (stored,) = runs_of(STORED["methods"], method="biases", seed=1)
    again = measure_registers(Setting("biases", stored["rate"], seed=1))
    for loss in ("pirate", "plain"):
        assert again[loss] == pytest.approx(stored[loss], rel=0.01)
    assert again | {"pirate": 0, "plain": 0} == stored | {"pirate": 0, "plain": 0}


def test_no_run_is_below_the_floor():
    assert STORED["floor"] == pytest.approx(floor_per_token("pirate"), abs=1e-5)
    losses = [run["pirate"] for part in PARTS for run in STORED[part]]
    assert all(math.isfinite(loss) and loss > STORED["floor"] for loss in losses)


def test_lora_is_within_five_per_cent_of_full_fine_tuning_with_a_tenth_of_the_numbers():
    for seed in SEEDS:
        (full,), (lora,) = (runs_of(STORED["methods"], method=m, seed=seed) for m in ("full", LORA))
        assert lora["pirate"] < 1.05 * full["pirate"] and lora["trainable"] < 0.1 * full["trainable"]


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
