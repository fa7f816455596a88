"""The stored runs of lesson 08: complete, what the package makes, and what the lesson says of them."""

import json
import math
import re

import pytest
import torch

from lora_lab.adapters import load_adapter
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import load_gpt2
from lora_lab.runs.fine_tuning import QUESTIONS, RANKS, RATES, SEEDS, STORED, best_rate, measure
from lora_lab.runs.methods import LORA_TARGETS, METHODS, make_trainable
from lora_lab.story_gpt2.batches import floor_per_token, register_data, shuffle_words
from lora_lab.training import IGNORED, evaluate

RUNS = json.loads(STORED.read_text(encoding="utf-8"))
ALL = "LoRA, all linear layers"


def runs(part, **wanted):
    return [run for run in RUNS[part] if all(run[key] == value for key, value in wanted.items())]


def test_no_run_is_missing_and_none_is_there_twice():
    def settings(part):
        return sorted((run["method"], run["rank"], run["rate"], run["seed"]) for run in RUNS[part])

    best = {method: best_rate(RUNS["rates"], method) for method in METHODS}
    assert settings("rates") == sorted((m, 8, rate, 0) for m in METHODS for rate in RATES)
    assert settings("methods") == sorted((m, 8, best[m], seed) for m in METHODS for seed in SEEDS)
    assert settings("ranks") == sorted((ALL, r, best[ALL], seed) for r in RANKS for seed in SEEDS)
    assert settings("shuffled") == sorted((m, 8, best[m], 0) for m in ("full", ALL))


def test_the_stored_counts_are_those_of_the_model():
    for run in (*RUNS["methods"], *RUNS["ranks"]):
        model = make_trainable(load_gpt2(), run["method"], run["rank"])
        assert run["trainable"] == count_trainable_parameters(model), run


def test_the_same_run_in_two_parts_has_the_same_numbers():
    for part in ("methods", "ranks"):
        for run in runs(part, seed=0, rank=8):
            assert run in RUNS["rates"]


def test_a_run_made_again_is_the_stored_one():
    """On another processor rounding differs, and a hundred steps may magnify it a little."""
    stored = dict(*runs("methods", method="biases", seed=1))
    again = measure("biases", stored["rate"], seed=1)
    for loss in ("pirate", "plain"):
        assert again.pop(loss) == pytest.approx(stored.pop(loss), rel=0.01)
    assert again == stored


def test_no_run_is_below_the_floor():
    assert RUNS["floor"] == pytest.approx(floor_per_token("pirate"), abs=1e-5)
    losses = [run["pirate"] for part in ("rates", "methods", "ranks", "shuffled") for run in RUNS[part]]
    assert all(math.isfinite(loss) and loss > RUNS["floor"] for loss in losses)


def test_lora_is_within_five_per_cent_of_full_fine_tuning_with_a_tenth_of_the_numbers():
    for seed in SEEDS:
        (full,), (lora,) = runs("methods", method="full", seed=seed), runs("methods", method=ALL, seed=seed)
        assert lora["pirate"] < 1.05 * full["pirate"] and lora["trainable"] < 0.1 * full["trainable"]


def test_each_method_trains_what_it_says_and_nothing_else():
    def trained(method):
        model = make_trainable(load_gpt2(), method)
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    assert trained("full") == {name for name, _ in load_gpt2().named_parameters()}
    assert all(name.endswith("bias") for name in trained("biases")) and len(trained("biases")) == 25
    assert all(name.startswith("transformer.h.3.") for name in trained("last block"))
    for method in LORA_TARGETS:
        assert all(re.search(r"\.[AB]$", name) for name in trained(method))
    with pytest.raises(KeyError, match="prefix"):
        make_trainable(load_gpt2(), "prefix")


def test_shuffled_words_are_the_same_words_in_another_order():
    ids, labels = register_data("pirate", 20)
    new_ids, new_labels = shuffle_words(ids, labels)
    assert torch.equal(new_ids.sort(dim=1).values, ids.sort(dim=1).values)
    assert torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels[labels != IGNORED], new_ids[labels != IGNORED])
    assert (new_ids != ids).float().mean() > 0.5
    ends = (labels != IGNORED).sum(dim=1) - 1
    assert (new_ids[:, 0] == ids[:, 0]).all() and (new_ids[range(20), ends] == ids[range(20), ends]).all()


def test_the_stored_adapter_answers_and_the_base_does_not():
    ids, labels = register_data("questions", 100, held_out=True)
    base = load_gpt2()
    before = evaluate(base, ids, labels)
    adapted = load_adapter(base, QUESTIONS)
    assert evaluate(adapted, ids, labels) < 0.1 * before


def test_the_stored_adapter_names_its_base_and_no_folder():
    config = json.loads((QUESTIONS / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "story-gpt2"
    assert sum(file.stat().st_size for file in QUESTIONS.iterdir()) < 1e6
