"""Checkers of lesson 07, inside GPT-2."""

import torch

from lora_lab.checks import attempt, checker


@checker
def check_causal_mask(causal_mask):
    """Exercise 7.1: True at (i, j) if j <= T - t + i."""
    for t, T in ((4, 4), (1, 4), (2, 5)):
        mask = attempt(causal_mask, t, T)
        if not isinstance(mask, torch.Tensor) or mask.shape != (t, T):
            return f"for t = {t} and T = {T} a tensor of shape ({t}, {T}) is wanted"
        if mask.dtype != torch.bool:
            return f"a bool tensor is wanted, yours is {mask.dtype}"
        right = torch.ones(t, T, dtype=torch.bool).tril(T - t)
        if torch.equal(mask, ~right):
            return "True and False are the wrong way round: True is what may be seen"
        if t == T and torch.equal(mask, right.T):
            return "your tokens look ahead: the upper triangle must be False"
        if t < T and torch.equal(mask, torch.ones(t, T, dtype=torch.bool).tril()):
            return (
                f"with t = {t} queries and T = {T} keys the last query is the last key's: shift the triangle"
            )
        if not torch.equal(mask, right):
            return (
                f"for t = {t} and T = {T} it must be {right.int().tolist()}, yours is {mask.int().tolist()}"
            )
