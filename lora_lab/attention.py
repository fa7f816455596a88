"""SelfAttentionWithLoRA: GPT-2's self-attention with LoRA on Q, K, V and O. Lesson 06 builds it.

Attention: softmax(Q K^T / sqrt(d_head) + mask) V, then O. Vaswani et al., arXiv 1706.03762, section 3.2.
"""

import torch
from torch import nn

from lora_lab.lora import LoRALayer

ATTENTION_TARGETS = ("q", "k", "v", "o")


class SelfAttentionWithLoRA(nn.Module):
    """Takes the place of `attention`, a transformers GPT2Attention, keeps its weights frozen, and adds LoRA
    to `targets`.

    x (batch, t, d) -> (output (batch, t, d), None): the attention weights are not returned, so
    `output_attentions` stays empty. The base layer `c_attn` holds Q, K and V side by side, its outputs in the
    order [Q | K | V]; `c_proj` is O. Raises what `LoRALayer` and `check_attention` raise; `attention` is then
    untouched.
    """

    def __init__(self, attention, rank, alpha, targets=("q", "k", "v", "o"), dropout=0.0):
        super().__init__()
        check_attention(attention, targets)
        d = attention.embed_dim
        lora = {name: LoRALayer(d, d, rank, alpha, dropout) for name in targets}
        self.lora = nn.ModuleDict(lora).to(attention.c_proj.weight)
        self.base = attention.requires_grad_(False)
        self.merged = False

    def adapted(self, name, x, y):
        if self.merged or name not in self.lora:
            return y
        return y + self.lora[name](x)

    def forward(self, x, past_key_values=None, attention_mask=None, **kwargs):
        base = self.base
        q, k, v = base.c_attn(x).split(base.embed_dim, dim=-1)  # three times (batch, t, d)
        q, k, v = self.adapted("q", x, q), self.adapted("k", x, k), self.adapted("v", x, v)
        q, k, v = (split_heads(m, base.num_heads) for m in (q, k, v))  # (batch, heads, t, d_head)
        if past_key_values is not None:
            k, v = with_cached(k, v, past_key_values, base.layer_idx)  # (batch, heads, T, d_head)
        weights = masked_softmax(q @ k.mT * base.scaling, attention_mask)  # (batch, heads, t, T)
        heads = base.attn_dropout(weights) @ v  # (batch, heads, t, d_head)
        joined = heads.transpose(1, 2).flatten(2)  # (batch, t, d)
        output = self.adapted("o", joined, base.c_proj(joined))
        return base.resid_dropout(output), None

    def weight_updates(self):
        deltas = {name: layer.delta_W().T for name, layer in self.lora.items()}  # (in, out)
        return fused_updates(self.base, deltas)


def split_heads(x, num_heads):
    """(batch, t, d) -> (batch, heads, t, d / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def with_cached(k, v, cache, layer_idx):
    """Append `k` and `v` (batch, heads, t, d_head) to a layer's cache and return all T so far, (batch, heads,
    T, d_head). A static cache also gives back its empty places: they are cut off.
    """
    T = int(cache.get_seq_length(layer_idx)) + k.shape[-2]
    k, v = cache.update(k, v, layer_idx)
    return k[..., :T, :], v[..., :T, :]


def fused_updates(attention, deltas):
    """Pairs (layer, update) that merge `deltas`, name -> (d, d) stored as (in, out), into a GPT-2 attention:
    those of q, k and v side by side in c_attn, zero for a name that is missing, and that of o in c_proj.
    """
    pairs = []
    if deltas.keys() & {"q", "k", "v"}:
        nothing = torch.zeros_like(attention.c_proj.weight)
        fused = torch.cat([deltas.get(name, nothing) for name in ("q", "k", "v")], dim=1)  # (d, 3 d)
        pairs.append((attention.c_attn, fused))
    if "o" in deltas:
        pairs.append((attention.c_proj, deltas["o"]))
    return pairs


def masked_softmax(scores, attention_mask=None):
    """Softmax over the last dimension of `scores` (batch, heads, t, T) that lets each query see itself and
    what came before.

    The last of the t queries is the last of the T keys (T - t of them come from a cache). `attention_mask`
    (batch, 1, t, T), if given, hides more: False in a bool mask, a large negative number in a float one.
    """
    t, T = scores.shape[-2:]
    lowest = torch.finfo(
        scores.dtype
    ).min  # not -inf: a row that sees nothing, as in padding, would become NaN
    causal = torch.ones(t, T, dtype=torch.bool, device=scores.device).tril(T - t)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        causal = causal & attention_mask[..., :T]
    elif attention_mask is not None:
        scores = (scores + attention_mask[..., :T]).clamp(min=lowest)
    return scores.masked_fill(~causal, lowest).softmax(dim=-1)


def check_attention(attention, targets):
    """Raise unless LoRA can be put on `targets` of `attention`: TypeError if it is no fused self-attention,
    ValueError if `targets` is empty, repeats a name or has one that is not q, k, v or o, or if a setting of
    the layer is not implemented.
    """
    if isinstance(attention, SelfAttentionWithLoRA):
        raise TypeError(
            "this attention has LoRA already: wrapping it twice would train two updates of one weight"
        )
    if not all(
        hasattr(attention, name) for name in ("c_attn", "c_proj", "embed_dim", "num_heads", "scaling")
    ):
        raise TypeError(f"a GPT2Attention with c_attn and c_proj is needed, got {type(attention).__name__}")
    if isinstance(targets, str) or not targets or not set(targets) <= set(ATTENTION_TARGETS):
        raise ValueError(f"targets must be some of {ATTENTION_TARGETS}, in a tuple or list, got {targets!r}")
    if len(set(targets)) < len(targets):
        raise ValueError(f"each target can be named once, got {targets!r}")
    if getattr(attention, "is_cross_attention", False):
        raise ValueError("only self-attention is implemented, this layer attends to another sequence")
    if getattr(attention, "reorder_and_upcast_attn", False):
        raise ValueError(
            "reorder_and_upcast_attn=True is not implemented: set it to False in the model's configuration"
        )
