"""Separate q, k and v as the one fused layer that PEFT adapts, and back.

PEFT knows GPT-2's Q, K and V only as c_attn. Separate adapters of rank r on n of them are one of rank n r on
it, if the A are stacked and B is block diagonal.
"""

import math
from typing import NamedTuple

import torch

from lora_lab.gpt2 import LAYERS

QKV = ("q", "k", "v")  # in the order of c_attn's outputs
# The targets that are a whole layer, which is named with its parent: `c_proj` alone would be two to PEFT.
WHOLE = {target: layer for target, layer in LAYERS.items() if target not in QKV}


class Update(NamedTuple):
    """What was learned about a weight (out, in): A (r, in), B (out, r), alpha, and in DoRA m (out)."""

    A: torch.Tensor
    B: torch.Tensor
    alpha: float
    m: torch.Tensor | None = None

    @property
    def kind(self):
        """(rank, alpha)."""
        return len(self.A), self.alpha


def fuse(updates, rslora=False):
    """{"0.q": Update, ...} -> {"0.attn.c_attn": Update, ...}. Of q, k and v all are needed or none: one that
    is not adapted is an Update of rank 0. ValueError if the others have not one rank and alpha.
    """
    return {
        layer: fuse_qkv(parts, rslora) if parts.keys() <= {*QKV} else parts.popitem()[1]
        for layer, parts in by_layer(updates).items()
    }


def take_apart(fused, kinds):
    """The inverse of `fuse` for the `kinds` {"0.q": (rank, alpha), ...}, without updates of rank 0.
    ValueError if `fuse` does not make `fused` of it.
    """
    updates = {}
    for layer, of_layer in by_layer(kinds).items():
        parts = dict.fromkeys(of_layer, fused[layer])  # whole, if it is no c_attn in parts
        if of_layer.keys() <= {*QKV}:
            parts = split_qkv(fused[layer], of_layer)
            if not torch.equal(fuse_qkv(parts).B, fused[layer].B):
                made_of = ", ".join(of_layer)
                raise ValueError(f"{layer} in this adapter is not made of {made_of}, as the note in it says")
        updates |= {f"{layer.split('.')[0]}.{target}": parts[target] for target in of_layer}
    return updates


def fuse_qkv(parts, rslora=False):
    """{"q": Update, "k": Update, "v": Update}, (r, d) and (d, r) -> the Update of c_attn, (n r, d) and
    (3 d, n r), if n of them are not of rank 0. B A holds the B A of each in its rows of [Q | K | V], and is
    scaled as that.
    """
    parts = [parts[name] for name in QKV]
    _, alpha = fused_kind([part.kind for part in parts if len(part.A)], rslora)
    A, B = torch.cat([part.A for part in parts]), torch.block_diag(*[part.B for part in parts])
    return Update(A, B, alpha, None if parts[0].m is None else torch.cat([part.m for part in parts]))


def split_qkv(fused, kinds):
    """The inverse of `fuse_qkv` for {"q": (rank, alpha), ...}; a name that is not there gets rank 0. What B
    has outside its blocks is left out.
    """
    ranks, alphas = zip(*[kinds.get(name, (0, 0)) for name in QKV], strict=True)
    B = [rows.split(ranks, dim=1)[i] for i, rows in enumerate(fused.B.chunk(3))]
    m = [None] * 3 if fused.m is None else fused.m.chunk(3)
    return dict(zip(QKV, map(Update, fused.A.split(ranks), B, alphas, m), strict=True))


def fused_kind(kinds, rslora):
    """The (rank, alpha) of a layer for those of its parts. ValueError if the parts differ."""
    if len(set(kinds)) != 1:
        raise ValueError(f"q, k and v of a block must have one (rank, alpha), got {kinds}")
    rank, alpha = kinds[0]
    return len(kinds) * rank, alpha_for(len(kinds), alpha, rslora)


def alpha_for(times, alpha, rslora):
    """The alpha that scales an update of `times` the rank as `alpha` scaled it: the scale is alpha / r, in
    rsLoRA alpha / sqrt(r).
    """
    return alpha * (math.sqrt(times) if rslora else times)


def by_layer(values):
    """{"0.q": value, ...} -> {"0.attn.c_attn": {"q": value, ...}, ...}."""
    layers = {}
    for name, value in values.items():
        number, target = name.split(".")
        layers.setdefault(f"{number}.{LAYERS[target]}", {})[target] = value
    return layers
