"""LoftQ: A and B start at the largest part of the rounding error, and the weight is rounded to go with them.
Lesson 14 builds and measures it. Li et al., arXiv 2310.08659, algorithm 1.
"""

import torch

from lora_lab.low_rank import truncate_svd
from lora_lab.merging import adapted_weights, check_writable
from lora_lab.quantization import NF4, dequantize, quantize
from lora_lab.quantized_layers import check_quantizable, quantize_gpt2
from lora_lab.variants import check_at_start, start_at


def loftq(W, rank, levels=NF4, rounds=5):
    """(W_hat, B, A) with W_hat + B @ A near `W` (out, in), W_hat rounded to `levels`: in turn, W_hat is what
    rounding makes of W - B @ A, and B (out, rank) @ A (rank, in) the best approximation to W - W_hat.
    ValueError if `rounds` is below 1; and what `quantize` raises.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    update = torch.zeros_like(W)
    for _ in range(rounds):
        W_hat = dequantize(*quantize(W - update, levels), levels).view(W.shape)
        B, A = truncate_svd(*torch.linalg.svd(W - W_hat, full_matrices=False), rank)
        update = B @ A
    return W_hat, B, A


@torch.no_grad()
def use_loftq(model, levels=NF4, rounds=5):
    """Start the LoRA of `model`, a GPT-2, as `loftq` says, put its dense layers in 4 bits, and return
    `model`, changed in place. What is learned belongs to that base, which is not the rounded original.

    Raises, with nothing changed, what `check_at_start`, `loftq` and `quantize_gpt2` raise, and ValueError
    for weights that are in 4 bits already: what rounding took from them is not known.
    """
    check_at_start(model)
    check_writable(model)
    check_quantizable(model, levels)
    for W0, layer in adapted_weights(model):
        W_hat, B, A = loftq(W0, layer.rank, levels, rounds)
        W0.copy_(W_hat)
        start_at(layer, B, A)
    return quantize_gpt2(model, levels)
