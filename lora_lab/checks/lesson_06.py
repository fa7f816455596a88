"""Checkers of lesson 06, scaling and merging."""

import torch
from torch import nn
from torch.nn import functional as F

from lora_lab.checks import checker


@checker
def check_repaired_lora(lora_class):
    """Exercise 6.1: only A and B train, the scale is alpha / r, merged equals unmerged, the start is the
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
