"""The stored runs of all lessons: what they share, and the command that makes them again."""

import json
import re
import subprocess
import sys
from dataclasses import fields

import pytest
import torch

from lora_lab import runs
from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import load_gpt2
from lora_lab.runs import __main__ as command
from lora_lab.runs import (
    at_best,
    choosing,
    facts,
    fine_tuning,
    lowest,
    one_run,
    qlora,
    read_runs,
    runs_of,
    share_of_way,
    write_runs,
)
from lora_lab.runs.methods import make_trainable
from lora_lab.runs.one_run import Setting, train_run

TOPICS = ("fine_tuning", "why_low_rank", "choosing", "facts", "qlora")


def all_runs():
    parts = (part for topic in TOPICS for part in read_runs(topic).values() if isinstance(part, list))
    return [run for part in parts for run in part]


def setting_of(run, kind=Setting):
    """The setting, of the class `kind`, that was asked for where `run` was stored."""
    return kind(**{field.name: run[field.name] for field in fields(kind) if field.name in run})


def test_a_stored_run_says_all_that_was_asked_for_and_nothing_that_its_method_does_not_heed():
    for run in all_runs():
        asked = setting_of(run).asked()
        assert asked.items() <= run.items()
        assert not {"rank", "alpha", "targets", "d"} & run.keys() - asked.keys(), run


def test_the_stored_counts_are_those_of_the_model():
    counts = {}
    for run in all_runs():
        setting = setting_of(run)
        key = setting.method, *setting.options().items()
        if key not in counts:
            model = make_trainable(load_gpt2(), setting.method, **setting.options())
            counts[key] = count_trainable_parameters(model)
        assert run["trainable"] == counts[key], run
    assert len(set(counts.values())) > 10


# A run


def test_a_run_trains_on_one_set_of_stories_as_asked_and_draws_A_from_its_seed(monkeypatch):
    asked, starts = [], []

    def data(kind, n, held_out=False):
        asked.append((kind, n, held_out))
        return torch.zeros(n, 1), torch.zeros(n, 1)

    def no_fit(model, ids, labels, steps, rate, warmup, seed):
        asked.append((len(ids), steps, rate, warmup, seed))
        starts.append([p.clone() for name, p in model.named_parameters() if name.endswith(".A")])

    monkeypatch.setattr(one_run, "story_data", data)
    monkeypatch.setattr(one_run, "fit", no_fit)
    monkeypatch.setattr(one_run, "evaluate", lambda model, ids, labels: len(ids) + 0.123456)
    for seed in (3, 4, 3):
        setting = Setting("LoRA", 0.02, 2, seed=seed, task="new words", stories=48, steps=7, warmup=1)
        model, run = train_run(setting)
        assert run == {**setting.asked(), "trainable": 2 * 4 * (4 * 256 + 2 * 640)}
        assert one_run.held_out_loss(model, "plain", 30) == 30.12346
    trained = ("new words", 48, False), (48, 7, 0.02, 1)
    assert asked[:2] == [trained[0], (*trained[1], 3)] and asked[3:5] == [trained[0], (*trained[1], 4)]
    assert asked[2] == asked[5] == ("plain", 30, True)
    first, other, again = starts
    assert len(first) == 24
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_the_first_half_is_to_choose_on_and_the_second_to_report():
    ids, labels = one_run.story_data("plain", 10, held_out=True)
    choose, report = one_run.halves("plain", 10)
    for half, rows in ((choose, slice(5)), (report, slice(5, 10))):
        assert torch.equal(half[0], ids[rows]) and torch.equal(half[1], labels[rows])


def test_a_setting_says_only_what_its_method_heeds():
    common = {"rate", "method", "seed", "task", "stories", "steps", "warmup", "held_out"}
    assert Setting("full", 1e-3).asked().keys() == common
    assert Setting("subspace", 1e-3).asked().keys() == common | {"d"}
    assert Setting("LoRA on q, k, v, o", 1e-3).asked().keys() == common | {"rank", "alpha"}
    chosen = Setting("DoRA", 1e-3, rank=2, targets="q, v")
    assert chosen.asked().keys() == common | {"rank", "alpha", "targets"}
    assert chosen.options() == {"rank": 2, "alpha": 16, "targets": ("q", "v")}


@pytest.mark.parametrize(
    ("topic", "short", "measure"),
    [
        ("fine_tuning", fine_tuning.SHORT, fine_tuning.measure_registers),
        ("facts", facts.SHORT, facts.measure_facts),
        ("choosing", choosing.SHORT, choosing.measure_choice),
        ("qlora", qlora.SHORT, qlora.measure_base),
    ],
)
def test_a_short_run_made_again_is_the_stored_one(topic, short, measure):
    """On another processor rounding differs, and the steps may magnify it a little."""
    (stored,) = read_runs(topic)["short"]
    again = measure(short)
    assert again.keys() == stored.keys() and all(again[key] == stored[key] for key in short.asked())
    for key in again.keys() - short.asked().keys():
        assert again[key] == pytest.approx(stored[key], rel=0.01), key


# Stored, read and chosen


def test_runs_that_are_written_are_read_again_and_stand_a_run_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "DATA", tmp_path / "data")
    stored = {
        "floor": 0.3,
        "rates": [{"rate": 0.1, "stable": {"0.q": 2.0}}, {"rate": 0.2}],
        "more": [{"a": "é"}],
    }
    write_runs("tried", stored)
    assert read_runs("tried") == stored
    assert len((tmp_path / "data" / "tried.json").read_text().splitlines()) == 2 + 4


def test_a_topic_of_which_nothing_is_stored_is_refused():
    with pytest.raises(ValueError, match="choosing, facts, fine_tuning, qlora, why_low_rank, got 'nonsense'"):
        read_runs("nonsense")


def test_runs_are_chosen_by_all_that_is_wanted_and_a_misspelt_key_is_refused():
    full, first, second = {"method": "full"}, {"method": "LoRA", "rank": 1}, {"method": "LoRA", "rank": 8}
    assert runs_of([first, full, second], method="LoRA") == [first, second]
    assert runs_of([first, full, second], method="LoRA", rank=8) == [second]
    assert runs_of([first, full], rank=8) == [] == runs_of([], rank=8)
    with pytest.raises(ValueError, match="runs have method, rank, got rnak"):
        runs_of([first, full], rnak=8)


def test_the_lowest_run_is_that_of_the_loss_that_is_asked_for():
    one, other = {"pirate": 0.3, "plain": 0.9}, {"pirate": 0.4, "plain": 0.5}
    assert lowest([one, other]) == one and lowest([one, other], "plain") == other


def test_the_best_rate_is_that_of_the_mean_over_the_seeds_and_one_seed_alone_does_not_choose_it():
    losses = {0.1: (0.1,), 0.2: (0.4, 0.4), 0.3: (0.3, 0.6), 0.4: (0.2, 0.5)}
    made = [
        {"method": "full", "rate": rate, "seed": seed, "chosen": loss}
        for rate, of_rate in losses.items()
        for seed, loss in enumerate(of_rate)
    ]
    best = at_best([*made, {"method": "LoRA", "rate": 0.5, "chosen": 0.0}], method="full")
    assert [(run["rate"], run["seed"]) for run in best] == [(0.4, 0), (0.4, 1)]


def test_runs_of_several_kinds_are_not_mixed():
    mixed = [{"rate": 0.1, "seed": 0, "rank": rank, "chosen": 0.5} for rank in (2, 8)]
    with pytest.raises(ValueError, match="differ in more than rate and seed"):
        at_best(mixed)
    assert at_best(mixed, rank=8) == mixed[1:]
    with pytest.raises(ValueError, match=r"no run has .*3"):
        at_best(mixed, rank=3)


def test_the_share_of_the_way_is_measured_on_the_task_of_the_run():
    stored = {"base": {"facts": 0.5, "chosen": 9.0}, "floor": 0.3}
    assert share_of_way(stored, {"task": "facts", "facts": 0.35, "chosen": 8.0}) == pytest.approx(0.75)


# The command


def test_the_command_refuses_an_unknown_topic_in_one_sentence(tmp_path):
    asked = [sys.executable, "-m", "lora_lab.runs", "nonsense", "choosing"]
    refused = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 1 and not refused.stdout
    said = "there are no runs of nonsense: the topics are fine_tuning, why_low_rank, choosing, facts, qlora"
    assert refused.stderr.splitlines() == [said]


@pytest.fixture
def instant(tmp_path, monkeypatch):
    """The command without its trainings: each topic stores its own name."""
    monkeypatch.setattr(runs, "DATA", tmp_path)
    monkeypatch.setattr(
        command, "MAKE", {topic: lambda topic=topic: {"made": topic} for topic in command.MAKE}
    )
    return tmp_path


@pytest.mark.parametrize("asked", [[], ["choosing"], ["why_low_rank", "fine_tuning"]])
def test_the_command_makes_what_it_is_asked_for_and_says_how_long_it_took_on_which_processor(
    asked, instant, monkeypatch, capsys
):
    clock = iter(range(0, 6000, 90))
    monkeypatch.setattr(command.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(command, "processor", lambda: "An Engine")
    command.make_runs(asked)
    made = asked or list(TOPICS)
    assert {path.stem for path in instant.iterdir()} == set(made)
    assert all(json.loads((instant / f"{topic}.json").read_text()) == {"made": topic} for topic in made)
    said = capsys.readouterr().out.splitlines()
    expected = [rf"{topic}: 1\.5 minutes on \d+ cores of An Engine" for topic in made]
    assert all(re.fullmatch(*pair) for pair in zip(expected, said, strict=True))


def test_each_topic_of_the_command_is_one_that_the_lessons_read():
    assert list(command.MAKE) == list(TOPICS)
    assert {path.stem for path in runs.DATA.glob("*.json")} == set(TOPICS)
    for topic, make in command.MAKE.items():
        assert make.__module__ == f"lora_lab.runs.{topic}"


def test_the_processor_has_a_name():
    assert command.processor().strip()
