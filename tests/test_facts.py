"""The stored runs on facts: complete, what the package makes, and a task on which the rank matters."""

import pytest

from lora_lab.runs import at_best, read_runs, share_of_way
from lora_lab.runs.facts import (
    LORA,
    SHORT,
    SWEEPS,
    facts_seeds,
    facts_sweeps,
    of,
)
from lora_lab.story_gpt2.batches import floor_per_token

STORED = read_runs("facts")


def best_three(method, rank=0):
    """The runs of a method at its best rate, one for each seed."""
    return at_best(of(STORED["sweeps"] + STORED["seeds"], method, rank))


def ways(method, rank=0):
    return [share_of_way(STORED, run) for run in best_three(method, rank)]


def test_no_run_is_missing_and_none_is_there_twice():
    asked = {"sweeps": facts_sweeps(), "seeds": facts_seeds(), "short": [SHORT]}
    assert {part: len(settings) for part, settings in asked.items()} == {
        "sweeps": 24,
        "seeds": 48,
        "short": 1,
    }
    for part, settings in asked.items():
        for run, setting in zip(STORED[part], settings, strict=True):
            assert setting.asked().items() <= run.items()


def test_every_best_rate_has_a_worse_one_on_both_sides():
    for which, rates in SWEEPS.items():
        best = best_three(*which)
        assert [run["rate"] for run in best] == [rates[1]] * 3, which
        assert [run["seed"] for run in best] == [0, 1, 2]


def test_the_floor_is_the_entropy_of_the_stories_that_are_reported_and_no_run_is_below_it():
    assert STORED["floor"] == pytest.approx(floor_per_token("facts", 400, first=200), abs=1e-5)
    assert all(run["facts"] > STORED["floor"] for part in ("sweeps", "seeds") for run in STORED[part])


def test_the_rank_matters():
    """Of the way from base to floor, biases go less than half, rank 1 most, rank 8 nearly all."""
    biases, one, eight = ways("biases"), ways(LORA, 1), ways(LORA, 8)
    assert len(biases) == len(one) == len(eight) == 3
    assert max(biases) < 0.5 and max(one) < 0.85 and min(eight) >= 0.93
    assert max(biases) < min(one) and max(one) < min(eight)


def test_switching_is_told_from_forgetting():
    """First mentions are what facts contradict: there all pay. All other words cost no more than before."""
    for method, rank in ((LORA, 8), ("full", 0)):
        for run in best_three(method, rank):
            assert run["first mentions"] > 2 * STORED["base"]["first mentions"]
            assert run["other words"] < 1.02 * STORED["base"]["other words"]
            assert run["later mentions"] < 0.1
