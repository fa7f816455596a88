"""The stored runs of lesson 10: complete, what the package makes, and what the lesson says of them."""

import json
import math

import pytest
import torch

from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, dense_weights, load_gpt2, random_gpt2
from lora_lab.merging import adapted_weights
from lora_lab.runs import choosing, lowest
from lora_lab.runs.choosing import (
    CHOICES,
    FIRST_STEPS,
    PLACES,
    RULE_RATES,
    RULES,
    measure_choice,
    settings_of_seeds,
    settings_of_sweeps,
)
from lora_lab.spectra import row_changes
from lora_lab.story_gpt2.batches import floor_per_token

RUNS = json.loads(CHOICES.read_text(encoding="utf-8"))


def test_no_run_is_missing_and_none_is_there_twice():
    asked = settings_of_sweeps()
    for part, more in settings_of_seeds(RUNS).items():
        asked[part] = asked[part] + more
    assert RUNS.keys() == asked.keys()
    for part, settings in asked.items():
        assert len(RUNS[part]) == len(settings)
        for run, setting in zip(RUNS[part], settings, strict=True):
            wanted = {k: v for k, v in setting.items() if k in run}
            if "targets" in wanted:
                wanted["targets"] = ", ".join(wanted["targets"])
            assert {key: run[key] for key in wanted} == wanted
        assert len({json.dumps(run) for run in RUNS[part]}) == len(RUNS[part])


def test_all_losses_are_finite_and_above_the_floor():
    """The floor is that of 200 held-out stories, and half of them were used here: hence the tolerance."""
    floor = floor_per_token("pirate") - 0.01
    for part in RUNS.values():
        assert all(
            math.isfinite(run[key]) and run[key] > floor for run in part for key in ("pirate", "plain")
        )


def test_the_stored_counts_are_those_of_the_model():
    for run in RUNS["places"]:
        model = apply_lora_to_gpt2(load_gpt2(), run["rank"], 16, tuple(run["targets"].split(", ")))
        assert run["trainable"] == count_trainable_parameters(model)


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and the steps may magnify it a little."""
    stored = next(run for run in RUNS["first"] if run["variant"] == "LoRA")
    again = measure_choice(rate=stored["rate"], steps=FIRST_STEPS, warmup=0)
    for loss in ("train", "pirate", "plain"):
        assert again.pop(loss) == pytest.approx(stored.pop(loss), rel=0.01)
    assert again == stored


# What the lesson says


def test_the_places_have_one_budget():
    counts = {run["targets"]: run["trainable"] for run in RUNS["places"]}
    assert len(counts) == len(PLACES)
    assert counts.pop(", ".join(ALL_TARGETS)) == 4 * 4608 and set(counts.values()) == {4 * 5120}


def test_divided_by_r_the_best_rate_stays_and_with_plain_alpha_it_falls():
    best = {
        (rule, rank): lowest(
            [run for run in RUNS["rules"] if (run["rank"], run["alpha"]) == (rank, RULES[rule](rank))]
        )["rate"]
        for rule, rank in RULE_RATES
    }
    assert {best["alpha / r", rank] for rank in (1, 8, 64)} == {0.01}
    assert best["plain alpha", 1] > best["alpha / r", 8] > best["plain alpha", 64]


def test_every_sweep_of_a_rank_is_finished():
    """The best rate has a worse one on both sides."""
    for (rule, rank), rates in RULE_RATES.items():
        runs = [run for run in RUNS["rules"] if (run["rank"], run["alpha"]) == (rank, RULES[rule](rank))]
        assert min(rates) < lowest(runs)["rate"] < max(rates)


def test_a_run_trains_on_one_set_of_stories_is_measured_on_the_other_and_draws_A_from_its_seed(monkeypatch):
    asked, starts = [], []

    def data(register, n, held_out=False):
        asked.append((register, n, held_out))
        return torch.zeros(n, 1), torch.zeros(n, 1)

    def no_fit(model, *data, **settings):
        starts.append([layer.A.clone() for _, layer in adapted_weights(model)])

    monkeypatch.setattr(choosing, "register_data", data)
    monkeypatch.setattr(choosing, "fit", no_fit)
    monkeypatch.setattr(choosing, "evaluate", lambda *data: 0)
    for seed in (0, 1, 0):
        measure_choice(seed=seed)
    run = [("pirate", 800, False), ("pirate", 100, True), ("plain", 100, True)]
    assert asked == 3 * run
    first, second, again = starts
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# How much rows have changed


def test_row_changes_of_a_model_that_has_not_changed_are_zero():
    changes = torch.tensor(row_changes(apply_lora_to_gpt2(random_gpt2(), 2, 4, ALL_TARGETS), random_gpt2()))
    assert changes.shape == (12, 2) and changes.abs().max() < 1e-5


def test_row_changes_tell_length_from_direction():
    longer, turned = random_gpt2(), random_gpt2()
    with torch.no_grad():
        for _, parameter in longer.named_parameters():
            parameter.mul_(1.5)
        for matrix in dense_weights(turned).values():
            matrix.copy_(matrix.roll(1, dims=1))
    for length, turn in row_changes(longer, random_gpt2()):
        assert length == pytest.approx(0.5, abs=1e-4) and abs(turn) < 1e-5
    for length, turn in row_changes(turned, random_gpt2()):
        assert length < 1e-5 and turn == pytest.approx(1, abs=0.2)


def test_row_changes_see_the_update_of_lora():
    model = apply_lora_to_gpt2(random_gpt2(), 2, 4, ALL_TARGETS)
    for _, layer in adapted_weights(model):
        torch.nn.init.normal_(layer.B)
    assert all(length > 0.01 and turn > 0.01 for length, turn in row_changes(model, random_gpt2()))
