"""Four proposals to change LoRA, in a few lines each. Lesson 12 builds and measures them.

rsLoRA: the scale alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732). PiSSA: start from the largest singular
values of W0 (Meng et al., 2404.02948). LoRA+: a larger rate for B (Hayou et al., 2402.12354). DoRA: learn how
long each row of the weight is apart from where it points (Liu et al., 2402.09353).

Each `use_...` changes a model with LoRA, whose updates are still zero, and returns it: rsLoRA comes before
PiSSA or DoRA. Raises, with nothing changed, what `check_at_start` raises.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from lora_lab.lora import LoRALayer
from lora_lab.low_rank import truncate_svd
from lora_lab.merging import adapted_weights, check_writable, replace_modules


class DoRALayer(LoRALayer):
    """The update that DoRA makes: x (..., in) -> (W - W0) x (..., out), where row i of W is m_i v_i / |v_i|
    and v_i is row i of W0 + (alpha / r) B A.

    `W0` is (out, in). m (out) is trained beside A and B and starts as the lengths of W0's rows, so the update
    starts at zero. |v_i| counts as a constant in the gradient (section 4.3 of the paper). Raises what
    `LoRALayer` raises.
    """

    def __init__(self, W0, rank, alpha, dropout=0.0):
        super().__init__(W0.shape[1], W0.shape[0], rank, alpha, dropout)
        W0 = W0.detach().clone(memory_format=torch.contiguous_format)
        self.register_buffer("W0", W0, persistent=False)
        self.m = nn.Parameter(self.W0.norm(dim=1))

    def forward(self, x):
        return F.linear(self.dropout(x), self.delta_W())

    def delta_W(self):
        v = self.W0 + super().delta_W()
        length = v.norm(dim=1).detach()
        length = length.masked_fill(length == 0, 1)  # a row of zeros has no direction
        return (self.m / length)[:, None] * v - self.W0


def check_at_start(model):
    """Raise unless LoRA in `model` is as it starts: ValueError if it has learned something, or starts in
    another way already; and what `adapted_weights` raises.
    """
    layers = [layer for _, layer in adapted_weights(model)]
    if not all((layer.B == 0).all() and not isinstance(layer, DoRALayer) for layer in layers):
        raise ValueError(
            "LoRA is not at its start here: change its scale, then how it starts, once and before training"
        )


def use_rslora(model):
    """Scale every update of `model` by alpha / sqrt(r) instead of alpha / r."""
    check_at_start(model)
    for _, layer in adapted_weights(model):
        layer.scale = layer.alpha / math.sqrt(layer.rank)
    return model


@torch.no_grad()
def use_pissa(model):
    """Start B and A of `model` as the r largest singular values of W0 with their vectors, and keep the rest
    frozen: W_res + (alpha / r) B A = W0.

    The frozen weights change, so LoRA cannot be taken out. What `save_adapter` writes fits W0: the difference
    to the start, which has rank 2 r. It needs a model in float32: torch has no SVD in half precision.
    ValueError, with nothing changed, for weights in 4 bits, too.
    """
    check_at_start(model)
    check_writable(model)
    for W0, layer in adapted_weights(model):
        U, s, Vt = torch.linalg.svd(W0, full_matrices=False)
        start_from(layer, W0, *truncate_svd(U, s, Vt, layer.rank))
    return model


@torch.no_grad()
def use_random_directions(model):
    """The control of `use_pissa`: the same singular values, with vectors drawn at random. In float32, too."""
    check_at_start(model)
    check_writable(model)
    for W0, layer in adapted_weights(model):
        s = torch.linalg.svdvals(W0)[: layer.rank]
        U = torch.linalg.qr(torch.randn(W0.shape[0], layer.rank)).Q.to(W0)
        V = torch.linalg.qr(torch.randn(W0.shape[1], layer.rank)).Q.to(W0)
        start_from(layer, W0, U * s, V.T)
    return model


def use_dora(model):
    """Put a DoRALayer in the place of every LoRALayer of `model`. It keeps a copy of W0, so what loads or
    rounds the frozen weights comes before.
    """
    check_at_start(model)
    W0_of = {layer: W0 for W0, layer in adapted_weights(model)}

    def with_lengths(layer):
        dora = DoRALayer(W0_of[layer], layer.rank, layer.alpha, layer.dropout.p).to(layer.A)
        dora.load_state_dict(layer.state_dict(), strict=False)  # its A and B; the lengths m are W0's
        dora.scale = layer.scale
        return dora.train(layer.training)

    return replace_modules(model, W0_of.__contains__, with_lengths)


def lora_plus_groups(model, rate, ratio):
    """Parameter groups for an optimizer, as LoRA+ wants them: `rate` for all that is trained but the B, and
    `ratio` times that for the B. ValueError if `model` has no LoRA or a number is not positive.
    """
    if rate <= 0 or ratio <= 0:
        raise ValueError(f"rate and ratio must be positive, got {rate} and {ratio}")
    B = [layer.B for _, layer in adapted_weights(model)]
    chosen = {id(parameter) for parameter in B}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    return [{"params": others, "lr": rate}, {"params": B, "lr": ratio * rate}]


def start_at(layer, B, A):
    """Let the update of `layer` start as B @ A, shared evenly by the two."""
    size = B.norm(dim=0).sqrt().clamp(min=1e-3)  # roots of the singular values, of which some may be 0
    layer.B.copy_(B / size / math.sqrt(layer.scale))
    layer.A.copy_(A * size[:, None] / math.sqrt(layer.scale))


def start_from(layer, W0, B, A):
    """Let the update of `layer` start as B @ A, and take it off `W0` in place."""
    start_at(layer, B, A)
    layer.start = layer.B.clone(), layer.A.clone()  # an adapter file holds what is learned beyond it
    W0.sub_(layer.delta_W())
