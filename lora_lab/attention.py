"""SelfAttentionWithLoRA: GPT-2's self-attention with LoRA on Q, K, V and O. Lesson 08 builds it.

Attention: softmax(Q K^T / sqrt(d_head) + mask) V, then O. Vaswani et al., arXiv 1706.03762, section 3.2.
"""

import torch
from torch import nn

from lora_lab.lora import LoRALayer, dense_weight

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

    def adapted(self, name, x, y):
        return y + self.lora[name](x) if name in self.lora else y

    def forward(self, x, cache=None, attention_mask=None, past_key_values=None, **kwargs):
        cache = past_key_values if cache is None else cache  # its name before transformers 5.24
        q, k, v = self.base.c_attn(x).chunk(3, dim=-1)  # three times (batch, t, d)
        q, k, v = self.adapted("q", x, q), self.adapted("k", x, k), self.adapted("v", x, v)
        heads = attend(self.base, q, k, v, cache, attention_mask)  # (batch, t, d)
        output = self.adapted("o", heads, self.base.c_proj(heads))
        return self.base.resid_dropout(output), None


def attend(attention, q, k, v, cache=None, attention_mask=None):
    """softmax(Q K^T / sqrt(d_head) + mask) V in each head of `attention`, the heads side by side: three times
    (batch, t, d) -> (batch, t, d).
    """
    q, k, v = (split_heads(m, attention.num_heads) for m in (q, k, v))  # (batch, heads, t, d_head)
    if cache is not None:
        k, v = with_cached(k, v, cache, attention.layer_idx)  # (batch, heads, T, d_head)
    weights = masked_softmax(q @ k.mT * attention.scaling, attention_mask)  # (batch, heads, t, T)
    heads = attention.attn_dropout(weights) @ v  # (batch, heads, t, d_head)
    return heads.transpose(1, 2).flatten(2)  # (batch, t, d)


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


def projection(attention, name):
    """The layer of a GPT-2 attention that q, k, v or o is in."""
    return attention.c_proj if name == "o" else attention.c_attn


def attention_weight(attention, name):
    """The weight (d, d) of q, k, v or o in a GPT-2 attention, as (out, in): a view, to be read or changed."""
    W = dense_weight(projection(attention, name))
    return W if name == "o" else W.chunk(3)[("q", "k", "v").index(name)]  # [Q | K | V]


def masked_softmax(scores, attention_mask=None):
    """Softmax over the last dimension of `scores` (batch, heads, t, T) that lets each query see itself and
    what came before.

    The last of the t queries is the last of the T keys (T - t of them come from a cache). `attention_mask`
    (batch, 1, t, T), if given, hides more: False in a bool mask, a large negative number in a float one.
    """
    t, T = scores.shape[-2:]
    lowest = torch.finfo(scores.dtype).min  # with -inf a row that sees nothing, as in padding, would be NaN
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
    if getattr(getattr(attention, "config", None), "add_cross_attention", False):
        raise ValueError("a model with cross-attention is not implemented: its cache holds two kinds of keys")
    if getattr(attention, "reorder_and_upcast_attn", False):
        raise ValueError(
            "reorder_and_upcast_attn=True is not implemented: set it to False in the model's configuration"
        )
