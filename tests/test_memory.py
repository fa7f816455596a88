"""What a training step holds: the formula, counted tensors, and what a forward pass keeps."""

import pytest
import torch
from torch import nn

from lora_lab.gpt2 import load_gpt2, random_gpt2
from lora_lab.memory import activation_bytes, held_bytes, model_bytes, step_bytes, storage_bytes

TOKENS = torch.arange(24).view(2, 12)


def after_one_step(model, make_optimizer=torch.optim.Adam):
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(TOKENS, labels=TOKENS).loss.backward()
    optimizer.step()
    return held_bytes(model, optimizer)


def test_a_trained_number_costs_sixteen_bytes_and_a_frozen_one_four():
    assert step_bytes(10) == {"weights": 40, "gradients": 40, "moments": 80}
    assert step_bytes(0, 10) == {"weights": 40, "gradients": 0, "moments": 0}
    assert sum(step_bytes(3, 5).values()) == 3 * 16 + 5 * 4


@pytest.mark.parametrize("counts", [(-1,), (5, -2)])
def test_a_negative_count_is_refused(counts):
    with pytest.raises(ValueError, match=str(counts[-1])):
        step_bytes(*counts)


def test_shared_memory_is_counted_once():
    x = torch.zeros(10, 4)
    assert storage_bytes([x, x[2:], x.T, torch.zeros(3, dtype=torch.int64)]) == 160 + 24


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW])
def test_the_tensors_of_a_step_are_those_of_the_formula(make):
    model = load_gpt2()
    assert after_one_step(model, make) == step_bytes(933_376)  # the tied matrix once


def test_frozen_numbers_have_neither_gradients_nor_moments():
    model = random_gpt2()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert 0 < trainable < frozen
    assert after_one_step(model) == step_bytes(trainable, frozen)


def test_plain_gradient_descent_has_no_moments_and_momentum_has_one():
    held = after_one_step(random_gpt2(), torch.optim.SGD)
    assert held["moments"] == 0 < held["gradients"] == held["weights"]
    held = after_one_step(random_gpt2(), lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9))
    assert held["moments"] == held["weights"]


def test_activations_by_hand():
    # ReLU's result (5, 4) is kept once, for itself and as the second layer's input; the given x is not ours.
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert activation_bytes(model, torch.ones(5, 3)) == 5 * 4 * 4
    # The sigmoid of the last layer is kept as well.
    assert activation_bytes(nn.Sequential(model, nn.Sigmoid()), torch.ones(5, 3)) == 5 * 4 * 4 + 5 * 2 * 4


def test_nothing_is_kept_if_nothing_is_trainable():
    model = random_gpt2().requires_grad_(False)
    assert activation_bytes(model, TOKENS, labels=TOKENS) == 0


def test_a_frozen_layer_before_the_first_trained_one_keeps_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    # The second layer needs its input for the gradient of its weight, ReLU needs nothing.
    assert activation_bytes(model, torch.ones(5, 3)) == 5 * 4 * 4
    model[2].weight.requires_grad_(False)
    assert activation_bytes(model, torch.ones(5, 3)) == 0


@pytest.mark.parametrize("texts", [1, 3])
def test_the_meta_device_keeps_what_the_processor_keeps(texts):
    ids = torch.zeros(texts, 32, dtype=torch.long)
    real = random_gpt2(attn_implementation="eager", pad_token_id=None)
    with torch.device("meta"):
        empty = random_gpt2(attn_implementation="eager", pad_token_id=None)
    counted = activation_bytes(real, ids, labels=ids)
    assert counted == activation_bytes(empty, ids.to("meta"), labels=ids.to("meta")) > 0


def test_the_inputs_by_name_reach_the_model_and_are_not_counted():
    # The loss, which labels ask for, keeps the log-probabilities of 2 x 12 positions for itself.
    model = random_gpt2()
    without, with_loss = activation_bytes(model, TOKENS), activation_bytes(model, TOKENS, labels=TOKENS)
    assert with_loss >= without + 2 * 12 * 100 * 4
    by_name = activation_bytes(model, input_ids=TOKENS, labels=TOKENS)
    assert by_name == with_loss


def test_what_an_optimizer_remembers_counts_whatever_its_name():
    held = after_one_step(random_gpt2(), torch.optim.Rprop)  # it keeps "prev" and "step_size"
    assert held["moments"] == 2 * held["weights"]


def test_a_file_of_a_model_has_each_tied_weight_once_in_its_own_type():
    model = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 3, dtype=torch.bfloat16))
    assert model_bytes(model) == 4 * 15 + 2 * (15 + 3)
    model.append(nn.Linear(3, 5, bias=False))
    model[2].weight = model[0].weight
    assert model_bytes(model) == 4 * 15 + 2 * (15 + 3)
