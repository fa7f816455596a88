"""Separate q, k and v as the one fused layer that PEFT adapts, and back.

PEFT knows GPT-2's Q, K and V only as c_attn. n separate adapters of rank r are one of rank n r on it, if the
A are stacked and B is block diagonal. The other layers of a block are filled up with zeros to the same rank.
"""

import torch
from torch.nn import functional as F

from lora_lab.gpt2 import LAYERS

QKV = ("q", "k", "v")  # in the order of c_attn's outputs
# The targets that are a whole layer, which is named with its parent: `c_proj` alone would be two to PEFT.
WHOLE = {target: layer for target, layer in LAYERS.items() if target not in QKV}


def fuse_qkv(pairs):
    """{name: (A (r, d), B (d, r))} for n of q, k and v -> (A (n r, d), B (3 d, n r)) for c_attn.

    The A are stacked. B is block diagonal, each in its rows of [Q | K | V], with zeros in the rows of a
    missing name. So B A holds each one's own B A in its rows; with n alpha for alpha it is scaled as before.
    """
    names = [name for name in QKV if name in pairs]
    d, r = pairs[names[0]][1].shape
    A = torch.cat([pairs[name][0] for name in names])
    B = A.new_zeros(3, d, len(names), r)
    for i, name in enumerate(names):
        B[QKV.index(name), :, i] = pairs[name][1]
    return A, B.reshape(3 * d, len(names) * r)


def split_qkv(A, B, names):
    """The inverse of `fuse_qkv` for n `names`: (A (n r, d), B (3 d, n r)) -> {name: (A (r, d), B (d, r))}.
    What B has outside its blocks is left out.
    """
    names = [name for name in QKV if name in names]
    A = A.unflatten(0, (len(names), -1))  # (n, r, d)
    B = B.unflatten(0, (3, -1)).unflatten(-1, (len(names), -1))  # (3, d, n, r)
    return {name: (A[i], B[QKV.index(name), :, i]) for i, name in enumerate(names)}


def fused_count(targets):
    """The n of `fuse_qkv`, or 1 without q, k and v: PEFT's r is n times our rank, its alpha n times ours."""
    return max(1, sum(name in QKV for name in targets))


def to_peft(pairs):
    """{target: (A, B)} of a block -> {layer: (A, B)}: q, k and v fused, which gives rank n r, and the others
    filled up with zeros to the same rank.
    """
    n = fused_count(pairs)
    fused = {"attn.c_attn": fuse_qkv(pairs)} if pairs.keys() & set(QKV) else {}
    for name in pairs.keys() & WHOLE:
        A, B = pairs[name]
        zeros = (n - 1) * len(A)
        fused[WHOLE[name]] = F.pad(A, (0, 0, 0, zeros)), F.pad(B, (0, zeros))
    return fused


def from_peft(fused, targets):
    """The inverse of `to_peft`. ValueError for matrices that `to_peft` does not make from `targets`."""
    n = fused_count(targets)
    pairs = split_qkv(*fused["attn.c_attn"], targets) if {*QKV} & {*targets} else {}
    for name in WHOLE.keys() & targets:
        A, B = fused[WHOLE[name]]
        r = len(A) // n
        pairs[name] = A[:r], B[:, :r]
    for layer, pair in to_peft(pairs).items():
        if not all(map(torch.equal, pair, fused[layer])):
            raise ValueError(f"{layer} in this adapter is not made of {', '.join(targets)}, as its note says")
    return pairs
