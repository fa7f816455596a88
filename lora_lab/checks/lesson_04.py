"""Checkers of lesson 04, why parameter-efficient."""

import torch

from lora_lab.checks import NotAttempted, attempt, checker
from lora_lab.gpt2 import gpt2_blocks, random_gpt2


@checker
def check_momentum_bytes(momentum_bytes):
    """Exercise 4.1: 12 bytes for a trained number, 4 for a frozen one."""
    count = attempt(momentum_bytes, 10, 1_000)
    wrong = {
        4_160: "this is Adam, with two means for each trained number; momentum keeps one",
        4_080: "this is plain gradient descent: the mean is missing",
        120: "the frozen numbers are forgotten: their weights must be in memory too",
        12_120: "a frozen number has neither a gradient nor a mean",
        1_030: "how many bytes is a number?",
    }
    if count in wrong:
        return wrong[count]
    for trainable, frozen, right in ((10, 1_000, 4_120), (7, 0, 84), (0, 3, 12)):
        found = momentum_bytes(trainable, frozen)
        if found != right:
            return f"for {trainable} trained and {frozen} frozen it must be {right:,}, yours is {found:,}"


@checker
def check_numbers_that_fit(numbers_that_fit):
    """Exercise 4.2: bytes / (4 + 12 share)."""
    count = attempt(numbers_that_fit, 24, 0.01)
    wrong = {
        24e9 / 16: "this is for training everything: a frozen number costs 4 bytes, not 16",
        24e9 / (16 * 0.01): "the frozen numbers are forgotten: their weights must be in memory too",
        24e9
        / (4 + 16 * 0.01): "the weights of the trained numbers are counted twice: 16 bytes hold them already",
        24e9 / 4: "this is for training nothing: the share that is trained needs 12 bytes more",
        24 * 2**30 / (4 + 12 * 0.01): "a gigabyte is 10**9 bytes in this lesson, not 2**30",
        24 / (4 + 12 * 0.01): "how many bytes is a gigabyte?",
    }
    for value, hint in wrong.items():
        if abs(count - value) <= 1:
            return hint
    for gigabytes, share in ((24, 0.01), (8, 1), (80, 0)):
        right = gigabytes * 1e9 / (4 + 12 * share)
        found = numbers_that_fit(gigabytes, share)
        if abs(found - right) > 1:
            return f"for {gigabytes} GB and a share of {share} it must be {right:,.0f}, yours is {found:,.0f}"


@checker
def check_lightest_block(lightest_block):
    """Exercise 4.3: every number of the last block asks for a gradient, and no other."""
    shape = {"n_layer": 3, "vocab_size": 512, "n_positions": 256}  # an answer may measure, with texts
    model = random_gpt2(**shape)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    answer = lightest_block(model)
    if answer is ...:
        raise NotAttempted
    if answer is not model:
        return "return the model itself, changed in place"
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = [
        {name for name in before if name.startswith(f"transformer.h.{number}.")}
        for number in range(len(gpt2_blocks(model)))
    ]
    if not trained:
        return "nothing is trainable"
    if trained - set().union(*blocks):
        return f"{sorted(trained - set().union(*blocks))[0]} is trainable too: it is in no block"
    chosen, *others = [block for block in blocks if block & trained]
    if others:
        return "numbers of more than one block are trainable"
    if chosen - trained:
        return f"{sorted(chosen - trained)[0]} is frozen: of the block that you choose, train all"
    if chosen != blocks[-1]:
        return "another block needs less: how far back must the gradient travel from the loss to this one?"
    if not all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()):
        return "the numbers have changed: choose what to train, do not train it"
    frozen = random_gpt2(**shape).requires_grad_(False)
    lightest_block(frozen)
    if {name for name, parameter in frozen.named_parameters() if parameter.requires_grad} != blocks[-1]:
        return "given a model in which all is frozen, the block stays frozen: set True as well as False"
