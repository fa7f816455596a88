"""Checkers of lesson 04, why parameter-efficient."""

import torch

from lora_lab.checks import NotAttempted, attempt, checker
from lora_lab.gpt2 import random_gpt2


@checker
def check_numbers_that_fit(numbers_that_fit):
    """Exercise 4.1: bytes / (4 + 12 share)."""
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
def check_adapter_numbers(adapter_numbers):
    """Exercise 4.2: two adapters in each block, each 2 d m + m + d."""
    count = attempt(adapter_numbers, 768, 12, 64)
    wrong = {
        1_189_632: "this is one adapter in each block; there are two",
        2 * 12 * 2 * 768 * 64: "the biases are forgotten: m of the first layer and d of the second",
        2 * (2 * 768 * 64 + 64 + 768): "this is one block; how many are there?",
        2 * 12 * (768 * 64 + 64 + 768): "an adapter is two dense layers: one makes it narrow, one wide again",
    }
    if count in wrong:
        return wrong[count]
    for width, layers, bottleneck, right in ((768, 12, 64, 2_379_264), (10, 3, 2, 312)):
        found = adapter_numbers(width, layers, bottleneck)
        if found != right:
            return (
                f"for width {width}, {layers} blocks and bottleneck {bottleneck} it must be {right:,}, "
                f"yours is {found:,}"
            )


@checker
def check_train_norms(train_norms):
    """Exercise 4.3: every number of the layer norms asks for a gradient, and no other."""
    model = random_gpt2()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    answer = train_norms(model)
    if answer is ...:
        raise NotAttempted
    if answer is not model:
        return "return the model itself, changed in place"
    found = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    right = {name for name in before if ".ln_" in name}
    if found - right:
        return f"{sorted(found - right)[0]} is trainable too: it is no layer norm"
    if not found:
        return "nothing is trainable"
    if "transformer.ln_f.weight" in right - found and "transformer.h.0.ln_1.weight" in found:
        return "one layer norm is missing: there is another behind the last block"
    if right - found:
        return f"{sorted(right - found)[0]} is frozen: a layer norm has a scale (weight) and a shift (bias)"
    if not all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters()):
        return "the numbers have changed: choose what to train, do not train it"
    frozen = random_gpt2().requires_grad_(False)
    train_norms(frozen)
    if not all(parameter.requires_grad for name, parameter in frozen.named_parameters() if ".ln_" in name):
        return "given a model in which all is frozen, the layer norms stay frozen: set True as well as False"
