"""LoRA: W0 x + (alpha / r) B A x, and merging. Lesson 05 builds the two classes. Hu et al., LoRA, arXiv
2106.09685, section 4.1.

Shapes as in the paper and in PEFT: W0 is (out, in), A is (r, in), B is (out, r).
"""

import math
from numbers import Real

import torch
from torch import nn
from torch.nn import functional as F

from lora_lab.low_rank import check_rank


class LoRALayer(nn.Module):
    """The update alone: x (..., in) -> (alpha / r) B A x (..., out).

    A (r, in) starts uniform on +-1 / sqrt(in), B (out, r) at zero, so the update starts at zero. `dropout` is
    the share of x's entries that A does not see in training. Raises what `check_rank` raises; ValueError if
    `alpha` is not a positive number.
    """

    def __init__(self, in_features, out_features, rank, alpha, dropout=0.0):
        super().__init__()
        check_rank(rank, out_features, in_features)
        check_alpha(alpha)
        self.rank, self.alpha = rank, alpha
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.empty(rank, in_features))
        self.B = nn.Parameter(torch.zeros(out_features, rank))
        nn.init.uniform_(self.A, -1 / math.sqrt(in_features), 1 / math.sqrt(in_features))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = F.linear(self.dropout(x), self.A)  # (..., in) -> (..., r)
        return F.linear(x, self.B) * self.scale  # (..., r) -> (..., out)

    def delta_W(self):
        return self.B @ self.A * self.scale  # (out, in)


class LinearWithLoRA(nn.Module):
    """A frozen dense layer plus its update: x -> W0 x + b + (alpha / r) B A x.

    `base` is an nn.Linear, or with `fan_in_fan_out=True` a layer that stores its weight as (in, out), as
    GPT-2's Conv1D does. It is frozen, not copied. Raises what `LoRALayer` raises, and TypeError if `base` is
    no such layer; `base` is then untouched.
    """

    def __init__(self, base, rank, alpha, dropout=0.0, fan_in_fan_out=False):
        super().__init__()
        out_features, in_features = weight_shape(base, fan_in_fan_out)
        self.lora = LoRALayer(in_features, out_features, rank, alpha, dropout).to(base.weight)
        self.base = base.requires_grad_(False)
        self.fan_in_fan_out = fan_in_fan_out
        self.merged = False

    def forward(self, x):
        if self.merged:
            return self.base(x)
        return self.base(x) + self.lora(x)

    def weight_updates(self):
        delta_W = self.lora.delta_W()
        return [(self.base, delta_W.T if self.fan_in_fan_out else delta_W)]


def check_alpha(alpha):
    """Raise ValueError unless `alpha` is a positive, finite number."""
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be a positive number, got {alpha!r}")


def weight_shape(base, fan_in_fan_out):
    """(out, in) of a dense layer. TypeError if it has none, is wrapped already, or is an nn.Linear said to
    store (in, out).
    """
    weight = getattr(base, "weight", None)
    if isinstance(base, LinearWithLoRA):
        raise TypeError(
            "this layer has LoRA already: wrapping it twice would train two updates of one weight"
        )
    if (
        isinstance(base, nn.Embedding | nn.EmbeddingBag)
        or not isinstance(weight, torch.Tensor)
        or weight.ndim != 2
    ):
        raise TypeError(f"a dense layer with a two-dimensional weight is needed, got {type(base).__name__}")
    stored_in_out = getattr(base, "fan_in_fan_out", not isinstance(base, nn.Linear))
    if stored_in_out != fan_in_fan_out:
        stores = "(in, out)" if stored_in_out else "(out, in)"
        raise TypeError(
            f"{type(base).__name__} stores its weight as {stores}: use fan_in_fan_out={not fan_in_fan_out}"
        )
    return tuple(weight.shape[::-1] if fan_in_fan_out else weight.shape)


def lora_modules(model):
    """The modules of `model` that hold an update of a frozen weight: those with `weight_updates`."""
    return [module for module in model.modules() if hasattr(module, "weight_updates")]


@torch.no_grad()
def merge(model):
    """Add every update to its frozen weight, W0 + (alpha / r) B A, and return `model`: it then costs nothing
    extra to run.

    The sum is taken in float32 and rounded once to the weight's own precision. The old weight is kept beside
    it, since subtracting would not give it back exactly. While merged, the model can be neither trained nor
    saved by `state_dict` (RuntimeError). Merging twice is merging once. ValueError, with nothing changed, if
    an update holds a NaN or infinite number, if a weight to be changed is shared with another layer (a
    tied embedding), which merging would change as well, or if it is no parameter of its layer, such as one
    in 4 bits.
    """
    modules = [module for module in lora_modules(model) if not module.merged]
    updates = [pair for module in modules for pair in module.weight_updates()]
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for layer, delta_W in updates:
        owners = names.get(id(layer.weight), [])
        if not owners:
            raise ValueError(
                f"{type(layer).__name__} has no weight that an update could be added to: dequantise it first"
            )
        if len(owners) > 1:
            raise ValueError(
                f"{' and '.join(owners)} are one tied weight: merging into one would change the other too"
            )
        if not torch.isfinite(delta_W).all():
            raise ValueError(f"the update of {owners[0]} holds a NaN or infinite number: nothing was merged")
    for layer, delta_W in updates:
        layer.register_buffer("weight_before_merge", layer.weight.clone(), persistent=False)
        at_least_float32 = torch.promote_types(layer.weight.dtype, torch.float32)
        layer.weight.copy_(layer.weight.to(at_least_float32) + delta_W.to(at_least_float32))
    for module in modules:
        module.merged = True
        module.merge_guards = [
            module.register_forward_pre_hook(refuse_training),
            module.register_state_dict_pre_hook(refuse_saving),
            module.register_load_state_dict_pre_hook(refuse_loading),
        ]
    return model


@torch.no_grad()
def unmerge(model):
    """Put back the weights that `merge` kept, bit for bit, and return `model`. A model that is not merged
    stays as it is.
    """
    for module in lora_modules(model):
        if module.merged:
            for layer, _ in module.weight_updates():
                layer.weight.copy_(layer.weight_before_merge)
                del layer.weight_before_merge
            for guard in module.merge_guards:
                guard.remove()
            module.merged = False
    return model


def refuse_training(module, inputs):
    """Forward hook of a merged module: A and B are not in its output, so nothing could be learned."""
    if module.training and torch.is_grad_enabled():
        raise RuntimeError(
            "LoRA is merged here and cannot be trained: call unmerge(model) first, or model.eval() to run it"
        )


def refuse_saving(module, prefix, keep_vars):
    """state_dict hook of a merged module: the frozen weights would be saved with the update mixed in."""
    raise RuntimeError(
        "LoRA is merged here, so the frozen weights are not the original ones: "
        "call unmerge(model) before saving"
    )


def refuse_loading(module, *_):
    """load_state_dict hook of a merged module: a loaded weight would silently lack the update."""
    raise RuntimeError("LoRA is merged here: call unmerge(model) before loading weights")
