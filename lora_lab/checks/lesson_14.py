"""Checkers of lesson 14, QLoRA."""

import torch

from lora_lab.checks import attempt, checker
from lora_lab.quantization import dequantize, quantize


@checker
def check_codes_moved(codes_moved):
    """Exercise 14.1: the share of codes of Q(dequantised W + update) that differ from those of W."""
    draw = torch.Generator().manual_seed(113)
    W, noise = torch.randn(32, 128, generator=draw), torch.randn(32, 128, generator=draw)
    codes, absmax = quantize(W)
    base = dequantize(codes, absmax).view(W.shape)
    for size in (0.05, 0.3):
        answer, update = float(attempt(codes_moved, W, size * noise)), size * noise
        merged = base + update
        after = quantize(merged)[0] != codes
        right = after.float().mean().item()
        from_W = (quantize(W + update)[0] != codes).float().mean().item()
        values = (dequantize(*quantize(merged)).view(W.shape) != base).float().mean().item()
        for wrong, hint in (
            (1 - right, "this is the share that has stayed"),
            (100 * right, "a share is between 0 and 1"),
            (after.sum().item(), "this is a number of codes, not a share of them"),
            (from_W, "the update is merged into the dequantised weight, not into the original"),
            (values, "you compare values: they differ with the absmax, even where the code is the same"),
            (0.0, "nothing moves: is the update added before the second time?"),
        ):
            if abs(answer - wrong) < 1e-6 and abs(wrong - right) > 1e-6:
                return hint
        if abs(answer - right) > 1e-6:
            return f"for an update {size} times a normal one the share is {right:.3f}, yours is {answer:.3f}"
