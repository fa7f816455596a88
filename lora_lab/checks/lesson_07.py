"""Checkers of lesson 07, inside GPT-2."""

import torch

from lora_lab.checks import attempt, checker


@checker
def check_weights_and_hidden(weights_and_hidden):
    """Exercise 7.1: 12 heads x 4 x 4, of which 12 x 6 are hidden."""
    if not isinstance(weights_and_hidden, tuple | list) or len(weights_and_hidden) != 2:
        return f"two numbers are wanted, all weights and the hidden ones; yours is {weights_and_hidden!r}"
    weights, hidden = weights_and_hidden
    if weights == 16:
        return "that is one head; each of the 12 has weights of its own"
    if weights != 192:
        return f"each head has a weight for each pair of tokens, 4 x 4; yours are {weights!r} in all"
    if hidden == 12 * 10:
        return "120 are those that may be seen: each token sees itself and those before it"
    if hidden == 96:
        return "96 is half of them, but the diagonal is not hidden: a token may look at itself"
    if hidden != 72:
        return f"hidden are the pairs above the diagonal, in each head; yours are {hidden!r}"


@checker
def check_causal_mask(causal_mask):
    """Exercise 7.2: True at (i, j) if j <= T - t + i."""
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


@checker
def check_invisible(invisible):
    """Exercise 7.3: a x + c with a > 0, for each token."""
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(73), dtype=torch.float64) + 0.3
    y = attempt(invisible, x.clone())
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        return f"x is {tuple(x.shape)}, and so must be the result"
    y = y.to(x)
    norms = [torch.nn.functional.layer_norm(m, (32,)) for m in (x, y)]
    if torch.allclose(norms[0], -norms[1], atol=1e-3):
        return "the norm has changed its sign: a negative factor is seen"
    if not torch.allclose(*norms, atol=1e-3):
        return "the layer norm is another one: what does it subtract, and what does it divide by?"
    if not (y.norm(dim=-1) > 2 * x.norm(dim=-1)).all():
        return "the norm is the same, but the vectors must be more than twice as long"
    if (torch.nn.functional.cosine_similarity(x, y, dim=-1) > 0.999).any():
        return "the norm is the same, and the vectors are longer; now make them point elsewhere, too"
