"""Checkers of lesson 05, LoRA from scratch."""

import torch
from torch import nn

from lora_lab.checks import attempt, attempt_watched, checker
from lora_lab.lora import LinearWithLoRA
from lora_lab.low_rank import low_rank_approximation


@checker
def check_the_other_way_round(the_other_way_round):
    """Exercise 5.1: x W0^T + (alpha / r) x A B, with A (in, r) and B (r, out)."""
    draw = torch.Generator().manual_seed(51)
    x, W0 = torch.randn(7, 5, generator=draw), torch.randn(3, 5, generator=draw)
    A, B = torch.randn(5, 2, generator=draw), torch.randn(2, 3, generator=draw)
    answer, made = attempt_watched(the_other_way_round, x, W0, A, B, 6.0)
    base, update = x @ W0.T, x @ A @ B
    if answer.shape != base.shape:
        return f"for x (7, 5) and W0 (3, 5) the output must be (7, 3), yours is {tuple(answer.shape)}"
    for wrong, hint in (
        (base, "the update is missing"),
        (update * 3, "the frozen part W0 x is missing"),
        (base + update * 6, "is it alpha / r, or alpha alone?"),
        (base + update, "where is alpha?"),
        (base + update * 6 / 5, "you divide by the width of the input; here the rank is the columns of A"),
        (base + update * 2, "you divide by the number of outputs; here the rank is the columns of A"),
    ):
        if torch.allclose(answer, wrong, atol=1e-5):
            return hint
    if not torch.allclose(answer, base + update * 3, atol=1e-5):
        return "the output is not W0 x + (alpha / r) x A B; which of the three is to be transposed?"
    if made & {(5, 3), (3, 5)}:
        return "the output is right, but A B has the size of W0: let x meet A first"


@checker
def check_layer_from_update(layer_from_update):
    """Exercise 5.2: (alpha / r) B A equals the best approximation of delta_W of that rank."""
    draw = torch.Generator().manual_seed(52)
    delta_W = torch.randn(6, 9, generator=draw)
    base = nn.Linear(9, 6)
    start = base.weight.detach().clone()
    layer = attempt(layer_from_update, base, delta_W.clone(), 3, 12)
    if not isinstance(layer, LinearWithLoRA):
        return f"a LinearWithLoRA is wanted, you return {type(layer).__name__}"
    if not torch.equal(layer.base.weight, start):
        return "the frozen weight has changed: the update belongs into A and B"
    if (layer.lora.rank, layer.lora.alpha) != (3, 12):
        return f"rank 3 and alpha 12 were asked for, yours has {layer.lora.rank} and {layer.lora.alpha}"
    if (rows := len(layer.lora.A)) != 3 or layer.lora.scale != 4:
        return f"A must keep its 3 rows and the layer its scale, 4; yours are {rows} and {layer.lora.scale:g}"
    found, best = layer.lora.delta_W().detach(), torch.from_numpy(low_rank_approximation(delta_W.numpy(), 3))
    if torch.allclose(found, best * 4, atol=1e-4):
        return "the update is 4 times too large, and 4 is alpha / r: undo the scale in A or B"
    if torch.allclose(found, torch.zeros_like(found)):
        return "the update is zero: A and B have not been set"
    if not torch.allclose(found, best, atol=1e-4):
        return "the update is not the best approximation of delta_W of rank 3"
    if not layer.lora.A.requires_grad or not layer.lora.B.requires_grad:
        return "A and B must stay trainable: change their data, do not replace them by tensors"


@checker
def check_half_a_lora(half_error):
    """Exercise 5.3: near sqrt(11.25 (1 - r / 48)), what a random A of rank r does not see of the planted."""
    few, many = attempt(half_error, 2), attempt(half_error, 32)
    if few < 0.5:
        return (
            f"at rank 2 yours comes to {few:.2f}, as if both were trained: does A still ask for a gradient?"
        )
    if abs(few - many) < 0.05:
        return f"yours is {few:.2f} at both ranks: the update has stayed zero. It is B that must be trained"
    if not (2.9 < few < 3.6 and 1.4 < many < 2.7):
        return f"yours is {few:.2f} at rank 2 and {many:.2f} at rank 32: is the rest as in `train_lora`?"
