"""Checkers of lesson 14, QLoRA."""

import torch

from lora_lab.checks import attempt, checker
from lora_lab.quantization import NF4, dequantize, quantize


@checker
def check_largest_base(in_bf16, in_nf4):
    """Exercise 14.1: 18 GB hold 9 billion weights of 16 bits, or 34.9 billion of 4.127."""
    bits = 8 * 18
    for answer, width, name in ((in_bf16, 16, "bf16"), (in_nf4, 4.127, "NF4")):
        right = bits / width
        for wrong, hint in (
            (8 * 24 / width, "6 of the 24 GB are taken by other things"),
            (bits / 4, "the scales need bits, too: 4.127 for each weight, not 4"),
            (bits / 4.5, "4.5 bits are without double quantisation"),
            (bits / 32, "that is float32: bf16 has 16 bits"),
            (18 / width, "a byte has 8 bits: is it bytes that you divide by bits?"),
            (1e9 * right, "the answer is wanted in billions"),
        ):
            if abs(answer - wrong) < 0.02 * wrong < abs(right - wrong):
                return f"in {name}: {hint}"
        if abs(answer - right) > 0.01 * right:
            return f"in {name}, {answer:g} billion weights would take {answer * width / 8:.1f} GB of the 18"


@checker
def check_codes_moved(codes_moved):
    """Exercise 14.2: the share of codes of Q(dequantised W + update) that differ from those of W."""
    draw = torch.Generator().manual_seed(113)
    W, noise = torch.randn(32, 128, generator=draw), torch.randn(32, 128, generator=draw)
    codes, absmax = quantize(W)
    base = dequantize(codes, absmax).view(W.shape)
    for size in (0.05, 0.3):
        answer, update = float(attempt(codes_moved, W.clone(), size * noise)), size * noise
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


@checker
def check_round_at_random(round_at_random):
    """Exercise 14.3: only the two neighbouring levels, numbers on a level as they are, right on average."""
    x = torch.linspace(-0.99, 0.99, 100)
    for levels in (torch.tensor([-1.0, 0.0, 1.0]), NF4):
        if not torch.equal(torch.as_tensor(attempt(round_at_random, levels, levels)), levels):
            return "a number that is on a level must stay there, the first and the last one as well"
        answer = attempt(round_at_random, x.repeat(4000, 1), levels)
        if not isinstance(answer, torch.Tensor) or answer.shape != (4000, 100):
            return "return a tensor with as many numbers as x has"
        if not torch.isin(answer, levels).all():
            return "every number must come out as one of the levels, not as its place in the list"
        alike = attempt(round_at_random, x[25].expand(2, 1000), levels)
        if any(torch.equal(y, y[:1].expand_as(y)) for y in (answer, alike.T)):
            return (
                "equal numbers are rounded alike each time: is anything drawn, and for each number by itself?"
            )
        upper = torch.bucketize(x, levels)
        if not ((answer == levels[upper]) | (answer == levels[upper - 1])).all():
            return "a number goes to one of the two levels that it lies between, no further"
        mean, gap = answer.mean(dim=0), levels[upper] - levels[upper - 1]
        if ((mean - (levels[upper] + levels[upper - 1] - x)).abs() < 0.05 * gap).all():
            return "the nearer level must be the more probable one: up and down are exchanged"
        if ((mean - (levels[upper] + levels[upper - 1]) / 2).abs() < 0.05 * gap).all():
            return "up and down are equally probable: the way from the lower level decides"
        if ((mean - x).abs() > 0.05 * gap).any():
            return "on average a number must come out as itself; is the way divided by the gap?"
