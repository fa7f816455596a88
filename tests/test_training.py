"""The training loop: what it changes, what it reports, and when it stops."""

import copy
import inspect
import itertools
import math
import os
import re
import subprocess
import sys
import time

import nbformat
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from torch import nn
from torch.nn import functional as F

from lora_lab.gpt2 import apply_lora_to_gpt2, random_gpt2
from lora_lab.training import IGNORED, evaluate, fit, progress_bar, shuffled_batches


@pytest.fixture
def data():
    """Rows that count upwards from a random start: easy to learn."""
    start = torch.randint(0, 80, (64, 1), generator=torch.Generator().manual_seed(0))
    ids = start + torch.arange(12)
    return ids, ids.clone()


@pytest.fixture
def model():
    return random_gpt2(initializer_range=0.02)


def test_the_loss_falls_and_the_history_says_when(model, data):
    before = evaluate(model, *data)
    history = fit(model, *data, steps=60, rate=3e-3, held_out=data, every=20)
    assert [entry["step"] for entry in history] == [20, 40, 60]
    assert history[-1]["held_out"] == evaluate(model, *data) < before / 2


def test_the_loss_of_an_entry_is_the_mean_since_the_last(model, data):
    one_by_one = fit(copy.deepcopy(model), *data, steps=4, rate=1e-3, held_out=data, every=1)
    at_the_end = fit(model, *data, steps=4, rate=1e-3)
    assert at_the_end == [{"step": 4, "loss": pytest.approx(sum(e["loss"] for e in one_by_one) / 4)}]


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(model, data):
    runs = [copy.deepcopy(model) for _ in range(3)]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        fit(run, *data, steps=3, rate=1e-3, seed=seed)
    first, same, other = (torch.cat([p.flatten() for p in run.parameters()]) for run in runs)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_what_is_frozen_does_not_move_and_what_is_trainable_does(model, data):
    apply_lora_to_gpt2(model, 2, 2)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit(model, *data, steps=3, rate=1e-2, weight_decay=0.1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad


def test_evaluation_is_the_mean_cross_entropy_of_all_predicted_tokens(model, data):
    ids, labels = data[0], data[1].clone()
    labels[::2, 5:] = IGNORED  # rows of unequal length must be weighted by their tokens
    logits = model(ids).logits[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED).item()
    assert evaluate(model, ids, labels, batch_size=7) == pytest.approx(expected, rel=1e-5)
    ignored = torch.full_like(labels, IGNORED)  # batches that ask for nothing change nothing
    assert evaluate(model, torch.cat([ids, ids]), torch.cat([labels, ignored])) == evaluate(
        model, ids, labels
    )


def test_every_row_comes_once_in_each_pass_in_a_new_order():
    batches = shuffled_batches(10, 5, seed=0)
    passes = [torch.cat([next(batches), next(batches)]).tolist() for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(10)) and passes[0] != passes[1]


def test_the_rate_rises_during_the_warm_up():
    class Slope(nn.Module):
        """Its loss is w itself: a step of AdamW is the rate."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))
            self.seen = []

        def forward(self, ids, labels):
            self.seen.append(self.w.item())
            self.loss = self.w * 1.0
            return self

    slope = Slope()
    fit(slope, torch.zeros(1, 1), torch.zeros(1, 1), steps=5, rate=0.1, batch_size=1, warmup=2)
    steps = [a - b for a, b in zip(slope.seen[:-1], slope.seen[1:], strict=True)]
    assert steps == pytest.approx([0.05, 0.1, 0.1, 0.1], rel=1e-4)


def test_a_batch_without_labels_is_not_blamed_on_the_rate(model, data):
    ids, labels = data[0][:8], torch.full_like(data[1][:8], IGNORED)
    labels[:, 0] = 5  # no label: no token comes before it
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1: its batch has no labels"):
        fit(model, ids, labels, steps=1, rate=1e-3, batch_size=4)


def test_labels_of_other_rows_are_refused(model, data):
    for n, m in ((7, 8), (8, 7)):
        with pytest.raises(ValueError, match=f"each row of ids needs its row of labels, got {n} and {m}"):
            fit(model, data[0][:n], data[1][:m], steps=1, rate=1e-3, batch_size=4)


def test_a_model_without_anything_trainable_is_refused(model, data):
    with pytest.raises(ValueError, match="everything is frozen"):
        fit(model.requires_grad_(False), *data, steps=1, rate=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"every": 0}, {"rate": 0}, {"batch_size": 0}, {"batch_size": 65}]
)
def test_impossible_arguments_are_refused_before_anything_moves(model, data, wrong):
    before = model.lm_head.weight.clone()
    with pytest.raises(ValueError, match="batch_size from 1 to 64"):
        fit(model, *data, **{"steps": 1, "rate": 1e-3, **wrong})
    assert torch.equal(model.lm_head.weight, before)


def test_it_trains_in_train_mode_and_ends_in_eval_mode(model, data):
    modes = []
    for module in model.modules():  # dropout, in every block, must be on
        module.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    fit(model.eval(), *data, steps=3, rate=1e-3)
    assert modes and all(modes) and not any(module.training for module in model.modules())
    modes.clear()
    held_out = [part[:8] for part in data]
    fit(model, *data, steps=4, rate=1e-3, held_out=held_out, every=2)  # two steps, one evaluation, and again
    runs = [mode for mode, _ in itertools.groupby(modes)]
    assert runs == [True, False, True, False] and not any(module.training for module in model.modules())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_step_before_it_moves_anything(value):
    class Breaks(nn.Module):
        """Its loss is w, and `value` at the third step."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))
            self.calls = 0

        def forward(self, ids, labels):
            self.calls += 1
            self.loss = self.w + (value if self.calls == 3 else 0.0)
            return self

    model = Breaks()
    with pytest.raises(FloatingPointError, match=rf"the loss is {value} at step 3: try a rate .* below 0\.1"):
        fit(model, torch.zeros(1, 2), torch.zeros(1, 2), steps=5, rate=0.1, batch_size=1)
    assert model.w.item() == pytest.approx(-0.2, rel=1e-4)  # two steps


def test_the_bar_leaves_no_trace_in_a_notebook(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    cell = "from lora_lab.training import progress_bar\nfor step in progress_bar(3, True): pass\nprint(step)"
    shown = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    messages = []
    client = NotebookClient(shown, store_widget_state=False)
    process = client.process_message

    def listen(message, *more):
        messages.append(message["msg_type"])
        return process(message, *more)

    client.process_message = listen
    client.execute()
    assert "comm_open" in messages  # there was a bar ...
    assert [output["text"] for output in shown.cells[0].outputs] == ["3\n"]  # ... and it is gone


def test_the_bar_leaves_nothing_on_standard_output(monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE")
    assert list(progress_bar(3, True)) == list(progress_bar(3, False)) == [1, 2, 3]
    assert capsys.readouterr().out == ""


INTERRUPTED = """
from lora_lab.gpt2 import load_gpt2
from lora_lab.story_gpt2.batches import story_data
from lora_lab.training import evaluate, fit
model, data = load_gpt2(), story_data("pirate", 64)
print("begun")
fit(model, *data, steps=100_000, rate=1e-4, progress=True)
"""
AFTERWARDS = """
print(model.training, len(fit(model, *data, steps=2, rate=1e-4)), evaluate(model, *data) < 2)
"""


def test_an_interrupt_leaves_a_usable_kernel_and_a_sentence():
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        # otherwise the kernel may abort what is asked right after an error, as it does in Run All
        asked = client.execute(INTERRUPTED, stop_on_error=False)
        while "begun" not in str(client.get_iopub_msg(timeout=60)["content"].get("text")):
            pass
        time.sleep(1.5)  # a step takes a small part of this
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != asked:
            pass  # a client that starts may have asked more than once whether the kernel is there
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        said = reply["content"]["evalue"]
        assert re.fullmatch(
            r"training was stopped in step \d+ of 100000; the model keeps what it has learned until there",
            said,
        )
        printed = []
        reply = client.execute_interactive(
            AFTERWARDS, timeout=60, output_hook=lambda m: printed.append(m["content"].get("text", ""))
        )
        assert reply["content"]["status"] == "ok" and "".join(printed).strip() == "False 1 True"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class MeanLabel(nn.Module):
    """Its loss is the mean of the labels that are to be predicted, and it asks for no gradient."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, ids, labels):
        assert not torch.is_grad_enabled()
        self.loss = labels[:, 1:][labels[:, 1:] != IGNORED].float().mean()
        return self


def test_each_predicted_token_counts_once_however_unequal_the_batches():
    labels = torch.arange(80).view(8, 10)
    labels[:2, 3:] = IGNORED  # the first batch has four tokens to predict, the others 18 each
    wanted = labels[:, 1:][labels[:, 1:] != IGNORED].float().mean().item()
    assert evaluate(MeanLabel(), labels, labels, batch_size=2) == pytest.approx(wanted)


def test_no_batch_is_short_and_a_rest_that_fills_none_is_left_out():
    batches = shuffled_batches(11, 4, seed=0)
    assert [len(next(batches)) for _ in range(6)] == [4] * 6


def test_one_step_is_enough_and_its_loss_is_reported_as_it_is(model, data):
    first = model(*[part[next(shuffled_batches(64, 16, 0))] for part in data[:1]], labels=None).logits
    rows = data[1][next(shuffled_batches(64, 16, 0))]
    loss = F.cross_entropy(first[:, :-1].flatten(0, 1), rows[:, 1:].flatten()).item()
    (entry,) = fit(model, *data, steps=1, rate=1e-3)  # this model has dropout, which changes little
    assert entry["loss"] == pytest.approx(loss, rel=0.05) and entry["loss"] % 1


def test_a_negative_rate_is_refused(model, data):
    with pytest.raises(ValueError, match="must be positive"):
        fit(model, *data, steps=1, rate=-1e-3)


def test_the_settings_of_a_call_that_names_none():
    settings = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    assert list(settings.items())[5:] == [
        ("batch_size", 16),
        ("warmup", 0),
        ("weight_decay", 0.0),
        ("held_out", None),
        ("every", 25),
        ("seed", 0),
        ("progress", False),
    ]


def test_an_interrupt_before_the_first_step_says_so(model, data, monkeypatch):
    def interrupted(steps, show):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("lora_lab.training.progress_bar", interrupted)
    with pytest.raises(KeyboardInterrupt, match="in step 0 of 5;"):
        fit(model, *data, steps=5, rate=1e-3)


BARS = """
import sys
from lora_lab.training import progress_bar
list(progress_bar(2, False))
print("none", file=sys.stderr)
list(progress_bar(3, True))
"""


def test_in_a_terminal_there_is_no_bar_unless_asked_for_and_it_is_gone_when_it_is_done():
    """In a process of its own, since tqdm reads TQDM_DISABLE when it is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    run = subprocess.run([sys.executable, "-c", BARS], env=environment, capture_output=True, check=True)
    before, _, shown = run.stderr.decode().partition("none\n")
    assert before == "" and "0%" in shown and shown.endswith("\r") and not shown.split("\r")[-2].strip()
