"""LoRA on one layer: h = W0 x + b + (alpha / r) B A x. Lesson 05 builds the two classes.

Shapes as in the paper and in PEFT: W0 is (out, in), A is (r, in), B is (out, r). Hu et al., LoRA, arXiv
2106.09685, section 4.1.
"""

import math
from numbers import Real

import torch
from torch import nn
from torch.nn import functional as F

from lora_lab.low_rank import check_rank


class LoRALayer(nn.Module):
    """The update alone: x (..., in) -> (alpha / r) B A x (..., out).

    A starts uniform on +-1 / sqrt(in), B at zero, so the update starts at zero. `dropout` is the share of x's
    entries that A does not see in training. Raises what `check_rank` and `check_alpha` raise.
    """

    def __init__(self, in_features, out_features, rank, alpha, dropout=0.0):
        super().__init__()
        check_rank(rank, out_features, in_features)
        check_alpha(alpha)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        bound = 1 / math.sqrt(in_features)
        self.A = nn.Parameter(torch.empty(rank, in_features).uniform_(-bound, bound))
        self.B = nn.Parameter(torch.zeros(out_features, rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return F.linear(F.linear(self.dropout(x), self.A), self.B) * self.scale

    def delta_W(self):
        return self.B @ self.A * self.scale  # (out, in)


class LinearWithLoRA(nn.Module):
    """A frozen dense layer and its update: x -> W0 x + b + (alpha / r) B A x.

    `base` is an nn.Linear or GPT-2's Conv1D; it is frozen, not copied. Raises what `dense_weight` and
    `LoRALayer` raise; `base` is then untouched.
    """

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        out_features, in_features = dense_weight(base).shape
        self.lora = LoRALayer(in_features, out_features, rank, alpha, dropout).to(base.weight)
        self.base = base.requires_grad_(False)

    def forward(self, x):
        return self.base(x) + self.lora(x)


def dense_weight(layer):
    """The weight of a dense layer as (out, in), whichever way round the layer stores it; to change it is to
    change the layer. TypeError if `layer` has LoRA already or is no dense layer.
    """
    if isinstance(layer, LinearWithLoRA):
        raise TypeError(
            "this layer has LoRA already: wrapping it twice would train two updates of one weight"
        )
    weight = getattr(layer, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.ndim == 2:
        if hasattr(layer, "out_features"):  # nn.Linear and its like store (out, in)
            return weight
        if hasattr(layer, "nf"):  # GPT-2's Conv1D stores (in, out)
            return weight.T
    raise TypeError(f"a dense layer, nn.Linear or Conv1D, is needed, got {type(layer).__name__}")


def check_alpha(alpha):
    """Raise ValueError unless `alpha` is a positive, finite number."""
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be a positive number, got {alpha!r}")
