"""Checkers of lesson 09, GPT-2 parameter counting."""

import torch

from lora_lab.adapters.fused import QKV, Update, fuse_qkv
from lora_lab.checks import NotAttempted, attempt, checker, is_blank


@checker
def check_untied(untied):
    """Exercise 9.1: 124,439,808 and V d more."""
    if untied == 124_439_808:
        return "this is the tied one: its output layer has no numbers of its own"
    if untied == 38_597_376:
        return "this is the second matrix; how many parameters has the whole model?"
    if untied == 124_439_808 + 38_597_376 + 50_257:
        return "this output layer has a bias, and it should have none"
    if untied == 124_439_808 + 768 * 768:
        return "the output layer turns 768 numbers into a score for each of 50,257 tokens"
    if untied != 163_037_184:
        return f"it must be V d more than the tied one's 124,439,808, yours is {untied:,}"


@checker
def check_explanation(explanation):
    """Exercise 9.2: the parts of each count add up to it."""
    numbers = {
        "LoRA on q, k, v, o": 589_824,
        "LoRA on q, v": 294_912,
        "token vectors": 38_597_376,
        "position vectors": 786_432,
        "attention base": 28_348_416,
        "MLP base": 56_669_184,
    }
    if any(is_blank(names) for names in explanation.values()):
        raise NotAttempted
    for count in (39_187_200, 28_643_328, 1_081_344):
        names = explanation[count]
        if isinstance(names, str):
            names = [names]
        unknown = [name for name in names if name not in numbers]
        if unknown:
            return f"{unknown[0]!r} is none of the names: {', '.join(numbers)}"
        total = sum(numbers[name] for name in set(names))
        if total != count:
            rest = count - total
            return f"{' + '.join(names)} makes {total:,}, and {count:,} was reported: {rest:,} to explain"


@checker
def check_fused_cost(fused_cost):
    """Exercise 9.3: 3 r, and in all layers 12 d r numbers, 6 d r of them zero. Held against `fuse_qkv`."""
    for d, layers, r in ((16, 3, 2), (14, 1, 4)):
        rank, numbers, zeros = attempt(fused_cost, d, layers, r)
        A, B, *_ = fuse_qkv({name: Update(torch.ones(r, d), torch.ones(d, r), alpha=r) for name in QKV})
        where = f"for d = {d}, {layers} layers and r = {r}"
        if rank == r:
            return "with one A of rank r the three would share their directions: they have three A"
        if rank != len(A):
            return f"the rank must be {len(A)} {where}, yours is {rank}"
        stored, filled = layers * (A.numel() + B.numel()), layers * int((B == 0).sum())
        if numbers == layers * 6 * d * r:
            return "this is what the three hold separately; the one large B is 3 d x 3 r"
        if layers > 1 and numbers == stored // layers:
            return "this is one layer; how many are there?"
        if numbers != stored:
            return f"A is 3 r x d and B is 3 d x 3 r: {stored} numbers {where}, yours are {numbers}"
        if zeros == layers * 3 * d * r:
            return "this is what is not zero in B: each of its three B is d x r"
        if zeros != filled:
            return (
                f"in the large B all is zero but three blocks of d x r: {filled} {where}, yours are {zeros}"
            )
