"""Checkers of lesson 06, scaling and merging."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from lora_lab.checks import attempt, attempt_watched, checker
from lora_lab.lora import LoRALayer


@checker
def check_alpha_that_keeps(alpha_that_keeps):
    """Exercise 6.1: alpha new_rank / rank."""
    alpha = attempt(alpha_that_keeps, 16, 8, 32)
    if alpha == 4:
        return "with 4 the scale would go from 2 to 1 / 8: the larger rank needs the larger alpha"
    if alpha in (16, 32):
        return f"with alpha = {alpha} and rank 32 the scale is {alpha / 32:g}, and it was 16 / 8 = 2"
    if alpha != 64:
        return f"from 16 at rank 8 to rank 32 it must be 64, yours is {alpha!r}"
    if alpha_that_keeps(5, 8, 4) != 2.5:
        return f"from 5 at rank 8 to rank 4 it must be 2.5, yours is {alpha_that_keeps(5, 8, 4)!r}"


@checker
def check_joined(joined):
    """Exercise 6.2: A = [A1; A2], B = [s1 B1, s2 B2], and scale 1."""
    torch.manual_seed(62)
    first, second = LoRALayer(9, 6, 2, 8), LoRALayer(9, 6, 1, 3)
    for layer in (first, second):
        nn.init.normal_(layer.B)
    both, made = attempt_watched(joined, *copy.deepcopy((first, second)))
    if not isinstance(both, LoRALayer):
        return f"a LoRALayer is wanted, you return {type(both).__name__}"
    found, wanted = both.delta_W(), first.delta_W() + second.delta_W()
    if both.rank < 3 or len(both.A) < 3:
        return "two updates of ranks 2 and 1 have a sum of rank 3: a smaller one cannot hold it"
    if both.scale != both.alpha / both.rank:
        return f"the scale is alpha / r, here {both.alpha / both.rank:g}, and yours was set to {both.scale:g}"
    if torch.allclose(found, both.scale * (first.B @ first.A + second.B @ second.A), atol=1e-5):
        return "the two scales are lost: each update was made with alpha / r of its own"
    if torch.allclose(found, both.scale * wanted, atol=1e-5) and both.scale != 1:
        return f"the sum is right, but the new layer multiplies by its own scale, {both.scale:g}"
    if not torch.allclose(found, wanted, atol=1e-5):
        return "the update is not the sum of the two: which rows and columns belong together?"
    if made & {(6, 9), (9, 6)}:
        return "the update is right, but B A, as large as the weight, was built on the way"


@checker
def check_repaired_lora(lora_class):
    """Exercise 6.3: only A and B train, the scale is alpha / r, merged equals unmerged, the start is the
    identity.
    """
    torch.manual_seed(53)
    base, x = nn.Linear(24, 24, bias=False), torch.randn(16, 24)
    layer = lora_class(base, rank=4, alpha=8)
    trainable = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    if not torch.equal(layer(x), base(x)):
        return "before training the output must be that of the base"
    if trainable == 192 + 576:
        return "768 numbers train: A and B have 192 of them, who are the others?"
    if trainable != 192:
        return f"{trainable} numbers train: it should be those of A and B alone, 192"
    with torch.no_grad():
        layer.B.copy_(torch.randn(24, 4))
        update = layer(x) - base(x)
        plain = x @ layer.A.T @ layer.B.T
        if torch.allclose(update, plain * 8, atol=1e-4):
            return "is it alpha / r, or alpha alone?"
        if not torch.allclose(update, plain * 2, atol=1e-4):
            return "the update in forward is not (alpha / r) B A x"
        merged = F.linear(x, layer.merged_weight())
        if torch.allclose(merged, base(x) + x @ layer.B @ layer.A * 2, atol=1e-4):
            return (
                "merged and unmerged outputs differ: in which order do you multiply A and B when you merge?"
            )
        if not torch.allclose(merged, layer(x), atol=1e-4):
            return "merged and unmerged outputs differ: are sign and scale the same in both?"
