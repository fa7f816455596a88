"""Checkers of lesson 08, attention with LoRA."""

import torch

from lora_lab.checks import attempt, checker


@checker
def check_fused_update(fused_update):
    """Exercise 8.1: [delta_q^T | delta_k^T | delta_v^T], shape (d, 3 d)."""
    draw = torch.Generator().manual_seed(62)
    q, k, v = torch.randn(3, 4, 4, generator=draw)
    fused = attempt(fused_update, q, k, v)
    if fused.shape == (12, 4):
        return "this is (3d, d): Conv1D stores (in, out), so Q, K and V stand side by side"
    if fused.shape != (4, 12):
        return f"for d = 4 the weight of c_attn is (4, 12), yours is {tuple(fused.shape)}"
    if torch.equal(fused, torch.cat([q, k, v], dim=1)):
        return "the order is right, but each update is in the shape (out, in): transpose it"
    if torch.equal(fused, torch.cat([k.T, q.T, v.T], dim=1)):
        return "GPT-2's order is [Q | K | V]: have you swapped Q and K?"
    if not torch.equal(fused, torch.cat([q.T, k.T, v.T], dim=1)):
        return "the columns must be those of Q, then K, then V, each update transposed"


@checker
def check_rank_for_budget(rank_for_budget):
    """Exercise 8.2: floor(budget / (2 d layers len(targets)))."""
    rank = attempt(rank_for_budget, 2_048, 64, 2, ("q", "v"))
    if rank == 8:
        return "for q and v it gives 8: does the number of targets count? Or do both A and B?"
    if rank == 16:
        return (
            "16 would cost four times the budget here: B and A have d numbers per rank each, in every target"
        )
    if rank != 4 or not isinstance(rank, int):
        return f"2,048 numbers for q and v in 2 layers of width 64 give rank 4, yours is {rank!r}"
    rank = rank_for_budget(600_000, 768, 12, ("q", "k", "v", "o"))
    if rank != 8:
        return (
            "600,000 numbers for q, k, v, o of GPT-2 small are a bit more than rank 8 costs, 589,824, and "
            f"less than rank 9: 8 is right, yours is {rank}"
        )
