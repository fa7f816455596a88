"""LoRA taken out of a GPT-2 as tensors, and put into one."""

import math

import torch

from lora_lab.adapters.fused import QKV, Update, alpha_for
from lora_lab.attention import ATTENTION_TARGETS, attention_weight, check_attention
from lora_lab.gpt2 import (
    LAYERS,
    apply_lora_to_gpt2,
    gpt2_blocks,
    lora_layers,
    remove_lora_from_gpt2,
)
from lora_lab.lora import LoRALayer
from lora_lab.low_rank import check_rank
from lora_lab.merging import frozen_layer, replace_modules
from lora_lab.variants import DoRALayer, use_dora, use_rslora


def updates_of(model):
    """({"0.q": Update, ...}, whether it is rsLoRA, dropout) of the LoRA in `model`. Beside a q, k or v that
    is adapted, one that is not has an Update of rank 0. Raises what `save_adapter` raises.
    """
    layers = placed_layers(model)
    if not layers:
        raise ValueError("there is no LoRA in this model: call apply_lora_to_gpt2(model, ...) first")
    classes = {type(layer) for layer in layers.values()}
    if classes not in ({LoRALayer}, {DoRALayer}):
        names = sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in classes)
        raise ValueError(f"all layers must be LoRALayers of lora_lab, or all DoRALayers, they are {names}")
    dropouts = {float(layer.dropout.p) for layer in layers.values()}
    if len(dropouts) > 1:
        raise ValueError(f"all LoRA must have one dropout, this model has {sorted(dropouts)}")
    lora = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in lora:
            raise ValueError(f"an adapter holds LoRA alone, and {name} is trained beside it: freeze it")
    rslora = has_rslora(layers)
    updates = {name: update_of(layer, rslora) for name, layer in layers.items()}
    for number, block in enumerate(gpt2_blocks(model)):
        others = [target for target in QKV if f"{number}.{target}" not in layers]
        for target in others if len(others) < len(QKV) else ():
            W = attention_weight(frozen_layer(block.attn), target)
            A, B = W.new_zeros(0, W.shape[1]), W.new_zeros(W.shape[0], 0)
            updates[f"{number}.{target}"] = Update(A, B, 0, W.norm(dim=1) if classes == {DoRALayer} else None)
    return updates, rslora, dropouts.pop()


def placed_layers(model):
    """What `lora_layers` gives. ValueError if that is not the same targets of all blocks, or not all LoRA."""
    layers = lora_layers(model)
    targets = {name.split(".")[1] for name in layers}
    places = [name for name, module in model.named_modules() if isinstance(module, LoRALayer)]
    if not len(places) == len(layers) == len(targets) * len(gpt2_blocks(model)):
        raise ValueError(
            f"LoRA must be lora_lab's, on the same targets of all blocks and only there, it is in {places}"
        )
    return layers


def has_rslora(layers):
    """Whether all are scaled by alpha / sqrt(r), not by alpha / r. ValueError if it is no one of the two."""
    for rslora in (False, True):
        odd = [
            name for name, layer in layers.items() if layer.scale != scale(layer.rank, layer.alpha, rslora)
        ]
        if not odd:
            return rslora
    name, lora = odd[0], layers[odd[0]]
    raise ValueError(
        f"the scale must be alpha / r in all layers, or alpha / sqrt(r) in all: {name} has {lora.scale} for "
        f"alpha = {lora.alpha} and r = {lora.rank}"
    )


def scale(rank, alpha, rslora):
    """alpha / r, in rsLoRA alpha / sqrt(r)."""
    return alpha / (math.sqrt(rank) if rslora else rank)


def update_of(layer, rslora):
    """The Update of a LoRALayer or DoRALayer. What is learned from a start B0 A0, as in PiSSA, is
    B A - B0 A0: an update of rank 2 r, of [B, -B0] and [A; A0].
    """
    A, B = layer.A.detach(), layer.B.detach()
    m = layer.m.detach() if isinstance(layer, DoRALayer) else None
    alpha = layer.alpha if type(layer.alpha) is int else float(layer.alpha)  # what JSON can write
    if hasattr(layer, "start"):
        B0, A0 = (part.to(A) for part in layer.start)
        A, B, alpha = torch.cat([A, A0]), torch.cat([B, -B0], dim=1), alpha_for(2, alpha, rslora)
        check_rank(len(A), len(B), A.shape[1])
    return Update(A, B, alpha, m)


def check_base(model):
    """Raise ValueError if the LoRA in `model` has changed its frozen weights, as use_pissa does."""
    if any(hasattr(layer, "start") for layer in lora_layers(model).values()):
        raise ValueError(
            "the frozen weights of this model are not those of its base, use_pissa has changed them: "
            "load the adapter into a fresh model"
        )


def put_updates(model, updates, rslora, dropout):
    """Give `model` LoRA with these numbers, and return it. What can fail is tried before anything changes."""
    layers, dora = placed_layers(model), any(update.m is not None for update in updates.values())
    there = {
        name: (type(layer), layer.rank, layer.alpha, layer.scale, layer.dropout.p)
        for name, layer in layers.items()
    }
    wanted = {
        name: (DoRALayer if dora else LoRALayer, *update.kind, scale(*update.kind, rslora), dropout)
        for name, update in updates.items()
    }
    if there != wanted:
        targets = sorted({name.split(".")[1] for name in updates}, key=[*LAYERS].index)
        attention_targets = [name for name in targets if name in ATTENTION_TARGETS]
        for block in gpt2_blocks(model):
            if attention_targets:
                check_attention(frozen_layer(block.attn), attention_targets)
        for A, B, *_ in updates.values():
            check_rank(len(A), len(B), A.shape[1])
        remove_lora_from_gpt2(model)
        with torch.random.fork_rng(devices=[]):
            apply_lora(model, targets, {name: update.kind for name, update in updates.items()}, dropout)
            if rslora:
                use_rslora(model)
            if dora:
                use_dora(model)
    for name, layer in lora_layers(model).items():
        layer.A.copy_(updates[name].A)
        layer.B.copy_(updates[name].B)
        if dora:
            layer.m.copy_(updates[name].m)
    return model


def apply_lora(model, targets, kinds, dropout):
    """`apply_lora_to_gpt2` with a (rank, alpha) of its own for each layer, {"0.q": (rank, alpha), ...}."""
    first = next(iter(kinds.values()))
    apply_lora_to_gpt2(model, *first, targets, dropout)
    kind_of = {layer: kinds[name] for name, layer in lora_layers(model).items() if kinds[name] != first}

    def of_its_kind(layer):
        new = LoRALayer(layer.A.shape[1], len(layer.B), *kind_of[layer], dropout)
        return new.to(layer.A).train(layer.training)

    replace_modules(model, kind_of.__contains__, of_its_kind)
