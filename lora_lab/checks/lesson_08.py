"""Checkers of lesson 08, attention with LoRA."""

import torch

from lora_lab.checks import attempt, checker

FORGOTTEN = {
    20: "20 counts one factor only: B and A have 1024 numbers per rank each; or was it one matrix, not two?",
    40: "40 counts one factor of one matrix: there are B and A, and there are q and v",
    244: "244 is what one block can afford: there are 24 of them",
    488: "488 is what one block can afford: there are 24 of them, and each has B and A in q and in v",
    11: "11 costs more than a million: round down",
}


@checker
def check_affordable_rank(rank):
    """Exercise 8.1: floor(1,000,000 / (24 * 2 * 2 * 1024)), that is 10."""
    try:
        rank = float(rank)
    except (TypeError, ValueError):
        return f"a rank is a whole number, yours is {rank!r}"
    if rank != int(rank):
        return f"a rank is a whole number, yours is {rank:.2f}: round down, or it costs too much"
    if rank in FORGOTTEN:
        return FORGOTTEN[int(rank)]
    if rank != 10:
        return "rank 1 costs 24 blocks x 2 matrices x (1024 + 1024) numbers: how often is this in 1,000,000?"


@checker
def check_fused_update(fused_update):
    """Exercise 8.2: [delta_q^T | delta_k^T | delta_v^T], shape (d, 3 d)."""
    draw = torch.Generator().manual_seed(62)
    q, k, v = torch.randn(3, 4, 4, generator=draw)
    fused = torch.as_tensor(attempt(fused_update, q, k, v))
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
def check_other_keys(other_keys):
    """Exercise 8.3: keys that all moved by one and the same vector."""
    draw = torch.Generator().manual_seed(83)
    k = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    q = 3 * torch.randn(6, 4, generator=draw, dtype=torch.float64)
    other = torch.as_tensor(attempt(other_keys, k.clone()))
    if other.shape != k.shape:
        return f"five keys of four numbers are a tensor of shape (5, 4), yours is {tuple(other.shape)}"
    other = other.to(k)
    if bool((other == k).all(dim=1).any()):
        return "at least one key is the same as before: each of them must be different"
    if not torch.isfinite(other).all():
        return "a key holds a number that is not finite"
    if torch.allclose(torch.sort(other, dim=0)[0], torch.sort(k, dim=0)[0]):
        return "these are the old keys in another order: then each weight goes to another word"
    difference = ((q @ other.T).softmax(-1) - (q @ k.T).softmax(-1)).abs().max()
    if difference > 1e-5:
        return (
            f"for some query a weight moves by {difference:.2f}: how must the scores of a query move, so "
            "that its softmax does not? And which change of the keys does this for every query?"
        )
