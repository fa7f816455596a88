"""An update goes into its frozen weight, W = W0 + (alpha / r) B A, and out again. Lesson 06 uses it.

A merged layer is another object, of class `Merged`, in the place of the one with LoRA. It holds a weight of
its own, the sum; the layer with LoRA waits beside it, untouched, to be put back. So nothing is subtracted,
which would not give W0 back to the last bit, and no layer needs to know whether it is merged.
"""

import copy
from contextlib import contextmanager

import torch
from torch import nn

from lora_lab.attention import attention_weight, projection
from lora_lab.lora import dense_weight


@torch.no_grad()
def merge(model):
    """Add every update in `model` to its frozen weight, and return `model`: it then costs nothing extra to
    run. Of a bare layer with LoRA, what is returned is its replacement.

    Each sum is taken in float32, or float64 if the weight has it, and rounded once to the weight's own
    precision. While merged, the model can be neither trained nor saved nor loaded into (RuntimeError).
    Merging twice is merging once. ValueError, with nothing changed, if an update holds a NaN or infinite
    number, or if a weight is in 4 bits: there is nothing to add to. (arXiv 2106.09685, section 4.1.)
    """
    check_writable(model)
    for name, module in model.named_modules():
        for _, lora in weights_and_updates(module, module.base) if has_lora(module) else ():
            if not torch.isfinite(lora.delta_W()).all():
                raise ValueError(f"the update of {name!r} holds a NaN or infinite number: nothing was merged")
    return replace_modules(model, has_lora, lambda module: Merged(module, model))


def unmerge(model):
    """Put back the layers that `merge` took away, equal to the last bit, and return `model`; of a bare merged
    layer, the layer with LoRA. A model that is not merged stays as it is.
    """
    return replace_modules(model, lambda module: isinstance(module, Merged), Merged.taken_out)


class Merged(nn.Module):
    """What `merge` puts in the place of `module`, a layer with LoRA in the model `root`: x -> W x + b with
    W = W0 + (alpha / r) B A. `root` is `module` itself if that is bare.
    """

    def __init__(self, module, root):
        super().__init__()
        self.base = summed(module)
        self.waiting = [module]  # in a list, so that it is no part of the merged model
        # PyTorch loads one layer after the other: those before this one would be overwritten when it refuses.
        guarded = [self] if root is module else [self, root]
        self.guards = [part.register_load_state_dict_pre_hook(refuse_loading) for part in guarded]
        self.train(module.training)

    def forward(self, *inputs, **options):
        if self.training and torch.is_grad_enabled():
            raise RuntimeError(
                "LoRA is merged here and cannot be trained: "
                "call unmerge(model) first, or model.eval() to run it"
            )
        return self.base(*inputs, **options)

    def state_dict(self, *args, **options):
        raise RuntimeError(
            "LoRA is merged here, so the frozen weights are not the original ones: "
            "call unmerge(model) before saving"
        )

    def taken_out(self):
        """The layer with LoRA, on the device and in the mode that the merged one has now."""
        for guard in self.guards:
            guard.remove()
        (module,) = self.waiting
        return module.to(next(self.base.parameters()).device).train(self.training)


def refuse_loading(*_):
    """What PyTorch calls before it loads weights into a merged layer, or into the model around it."""
    raise RuntimeError("LoRA is merged here: call unmerge(model) before loading weights")


def summed(module):
    """A copy of the frozen layer of `module`, a layer with LoRA, with the update in its weight."""
    shared = {id(part): part for part in [getattr(module.base, "config", None)]}  # the model's own, no copy
    base = copy.deepcopy(module.base, shared)
    for W, lora in weights_and_updates(module, base):
        precise = torch.promote_types(W.dtype, torch.float32)
        W.copy_(W.to(precise) + copy.deepcopy(lora).to(precise).delta_W())
    return replace_modules(base, has_lora, summed)  # c_attn may have an update inside an attention


def has_lora(module):
    """Whether `module` is a frozen `base` with its update `lora`, not merged. A reader's own class counts."""
    return all(isinstance(getattr(module, part, None), nn.Module) for part in ("base", "lora"))


def lora_modules(model):
    """The modules of `model` that have LoRA, merged ones left out."""
    return [module for module in model.modules() if has_lora(module)]


def adapted_weights(model):
    """[(W0, layer), ...] for every LoRALayer of `model`: W0 (out, in) is a view of the frozen weight that it
    adapts. ValueError if there is none, RuntimeError if LoRA is merged.
    """
    check_unmerged(model)
    if not lora_modules(model):
        raise ValueError("this model has no LoRA: call apply_lora_to_gpt2(model, rank, alpha) first")
    return [pair for module in lora_modules(model) for pair in weights_and_updates(module, module.base)]


def weights_and_updates(module, base):
    """The same for one `module` with LoRA, and the weights of `base`: its frozen layer or a copy of it."""
    if isinstance(module.lora, nn.ModuleDict):  # that of an attention
        return [(attention_weight(base, name), lora) for name, lora in module.lora.items()]
    return [(dense_weight(base), module.lora)]


@contextmanager
def without_lora(model):
    """`with without_lora(model):` the model answers as its base, and after that with LoRA again. `as base`
    gives the model itself, or of a bare layer with LoRA its frozen layer. RuntimeError if LoRA is merged.
    """
    check_unmerged(model)
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if has_lora(child)
    ]
    try:
        for parent, name, child in places:
            setattr(parent, name, child.base)
        yield frozen_layer(model)
    finally:
        for parent, name, child in places:
            setattr(parent, name, child.train(child.base.training))  # it did not hear of eval() meanwhile


def frozen_layer(module):
    """The frozen layer of a module with LoRA, merged or not; `module` itself if it has none."""
    return module.base if has_lora(module) or isinstance(module, Merged) else module


def replace_modules(model, wanted, make):
    """Put `make(module)` in the place of every module of `model` for which `wanted(module)` is true, without
    looking inside those, and return `model`; of a `model` that is wanted itself, return `make(model)`.
    """
    if wanted(model):
        return make(model)
    for name, child in model.named_children():
        new = replace_modules(child, wanted, make)
        if new is not child:
            setattr(model, name, new)
    return model


def is_merged(model):
    """Whether LoRA is merged anywhere in `model`."""
    return any(isinstance(module, Merged) for module in model.modules())


def check_unmerged(model):
    """Raise RuntimeError if LoRA is merged anywhere in `model`."""
    if is_merged(model):
        raise RuntimeError("LoRA is merged here: call unmerge(model) first")


def check_writable(model):
    """Raise ValueError if LoRA in `model` adapts a weight that its layer computes each time anew, as one in
    4 bits: what is added to it would be lost.
    """
    for module in lora_modules(model):
        attention = isinstance(module.lora, nn.ModuleDict)
        for layer in [projection(module.base, n) for n in module.lora] if attention else [module.base]:
            if not isinstance(layer.weight, nn.Parameter):
                kind = type(layer).__name__
                raise ValueError(
                    f"{kind} has no weight that an update could be added to: dequantise it first"
                )
