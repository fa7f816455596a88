"""Save and load LoRA adapters, in the file format of PEFT, the library that most people use.

An adapter of separate q, k and v is fused for PEFT (see fused_adapters), and a note in the file, which PEFT
does not read, tells us how to take it apart again.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save

from lora_lab.adapters.files import CONFIG, NOTE, WEIGHTS, check_finite, read_files, replace_files
from lora_lab.adapters.fused import WHOLE, from_peft, fused_count, to_peft
from lora_lab.adapters.settings import SETTINGS, checked_config
from lora_lab.attention import ATTENTION_TARGETS, check_attention
from lora_lab.gpt2 import (
    LAYERS,
    apply_lora_to_gpt2,
    check_targets,
    dense_layers,
    gpt2_blocks,
    lora_layers,
    remove_lora_from_gpt2,
)
from lora_lab.lora import LoRALayer, dense_weight
from lora_lab.low_rank import check_rank
from lora_lab.merging import frozen_layer


def save_adapter(model, folder):
    """Write the LoRA that `apply_lora_to_gpt2` put into `model` to `folder`, and return `model`. In PEFT,
    `PeftModel.from_pretrained(base, folder)` reads it.

    An adapter that is there is replaced, other files stay; a process killed while it saves leaves the old
    adapter or the new one. Raises, with nothing written, ValueError if there is no LoRA, if it differs in
    rank, alpha or dropout from layer to layer, or if a number is not finite; RuntimeError if it is merged;
    TypeError if `model` is no GPT-2.
    """
    layers = layers_by_target(model)
    if not layers:
        raise ValueError("there is no LoRA in this model: call apply_lora_to_gpt2(model, ...) first")
    targets, rank, alpha, dropout = lora_settings(layers)
    tensors = {}
    for i in range(len(gpt2_blocks(model))):
        pairs = {name: (layers[name][i].A.detach(), layers[name][i].B.detach()) for name in targets}
        for layer, pair in to_peft(pairs).items():
            tensors |= zip(tensor_keys(model, i, layer), pair, strict=True)
    for key, tensor in tensors.items():
        check_finite(key, tensor)
        tensors[key] = tensor.cpu().contiguous().clone()
    n = fused_count(targets)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if hasattr(model, "lm_head") else None,
        "base_model_name_or_path": getattr(model, "name_or_path", None) or None,
        "r": n * rank,
        "lora_alpha": n * alpha,
        "lora_dropout": dropout,
        "target_modules": sorted({LAYERS[name] for name in targets}),
        "fan_in_fan_out": True,
        "bias": "none",
        "inference_mode": True,
    }
    note = json.dumps({"targets": targets, "rank": rank, "alpha": alpha})
    contents = {WEIGHTS: save(tensors, {NOTE: note}), CONFIG: json.dumps(config, indent=2).encode()}
    replace_files(Path(folder), contents)
    return model


@torch.no_grad()
def load_adapter(model, folder):
    """Put the adapter in `folder`, from `save_adapter` or from PEFT, into the GPT-2 `model`, and return
    `model`.

    If the model has LoRA with these targets, rank, alpha and dropout, that gets the new numbers; any other is
    removed first. Nothing is guessed, and an error leaves `model` untouched: FileNotFoundError if a file is
    missing; ValueError if one is damaged, if the two are not from one save, if a setting is not implemented,
    if a tensor is missing, not asked for, misshaped or not finite, or if the base had another size;
    RuntimeError if LoRA is merged; TypeError if `model` is no GPT-2.
    """
    content, tensors, note = read_files(Path(folder))
    config = checked_config(content, Path(folder, CONFIG))
    check_base_size(model, tensors)
    wanted = wanted_layers(model, config["target_modules"])
    targets, rank, alpha = read_note(note, config, wanted)
    pairs = [from_peft(fused, targets) for fused in checked_blocks(model, tensors, wanted, config["r"])]
    ensure_lora(model, targets, rank, alpha, config["lora_dropout"])
    for name, of_target in layers_by_target(model).items():
        for lora, of_block in zip(of_target, pairs, strict=True):
            A, B = of_block[name]
            lora.A.copy_(A)
            lora.B.copy_(B)
    return model


def layers_by_target(model):
    """{target: [LoRALayer of block 0, of block 1, ...]} of a GPT-2, {} without LoRA. TypeError if it is no
    GPT-2, RuntimeError if LoRA is merged, ValueError if it is not where `apply_lora_to_gpt2` puts it.
    """
    layers = {}
    for name, layer in lora_layers(model).items():
        layers.setdefault(name.split(".")[1], []).append(layer)
    places = [name for name, module in model.named_modules() if isinstance(module, LoRALayer)]
    blocks = len(gpt2_blocks(model))
    in_all = all(len(of_target) == blocks for of_target in layers.values())
    if not in_all or len(places) != len(layers) * blocks:
        raise ValueError(f"LoRA must be on the same targets of all blocks and only there, it is in {places}")
    return layers


def lora_settings(layers):
    """(targets, rank, alpha, dropout) of what `layers_by_target` found. ValueError if they differ."""
    kinds = {(lora.rank, lora.alpha, lora.dropout.p) for of_target in layers.values() for lora in of_target}
    if len(kinds) > 1:
        raise ValueError(f"all LoRA must have one (rank, alpha, dropout), this model has {sorted(kinds)}")
    rank, alpha, dropout = kinds.pop()
    alpha = alpha if type(alpha) is int else float(alpha)  # what JSON can write
    return sorted(layers, key=[*LAYERS].index), int(rank), alpha, float(dropout)


def ensure_lora(model, targets, rank, alpha, dropout):
    """Put LoRA of this kind into `model` unless it has it. What can fail is tried before any is removed."""
    layers = layers_by_target(model)
    if layers and lora_settings(layers) == (targets, rank, alpha, dropout):
        return
    attention_targets = [name for name in targets if name in ATTENTION_TARGETS]
    for block in gpt2_blocks(model):
        if attention_targets:
            check_attention(frozen_layer(block.attn), attention_targets)
    for layer in dense_layers(model).values():
        check_rank(rank, *dense_weight(layer).shape)
    remove_lora_from_gpt2(model)
    with torch.random.fork_rng(devices=[]):
        apply_lora_to_gpt2(model, rank, alpha, targets, dropout)


def full_name(model, i, layer):
    """The name of a layer of block i in the model without LoRA: transformer.h.0.attn.c_attn."""
    return f"{'transformer.' if hasattr(model, 'transformer') else ''}h.{i}.{layer}"


def tensor_keys(model, i, layer):
    """PEFT's keys of A and B."""
    return [f"base_model.model.{full_name(model, i, layer)}.lora_{letter}.weight" for letter in "AB"]


def check_base_size(model, tensors):
    """Raise ValueError if the tensors belong to a GPT-2 with another number of layers or another width."""
    blocks = gpt2_blocks(model)
    layers, width = len(blocks), len(blocks[0].ln_1.weight)
    its_layers, widths = 0, set()
    for key, tensor in tensors.items():
        if match := re.search(r"\.h\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight$", key):
            its_layers = max(its_layers, int(match[1]) + 1)
            # d is the input of every layer but the MLP's second, whose output it is.
            if (match[3] == "A") != (match[2] == "mlp.c_proj") and tensor.ndim == 2:
                widths.add(tensor.shape[1 if match[3] == "A" else 0])
    its_width = widths.pop() if len(widths) == 1 else width  # several widths: one tensor is misshaped
    if its_layers and (its_layers, its_width) != (layers, width):
        raise ValueError(
            f"this adapter was made for a GPT-2 of {its_layers} layers and width {its_width}, the model has "
            f"{layers} layers and width {width}"
        )


def wanted_layers(model, target_modules):
    """The layers of a block that `target_modules` asks for. As in PEFT, a name stands for every layer whose
    full name ends with it, in whole dotted parts. ValueError for a name that no layer has.
    """
    if target_modules == "all-linear":
        return [*WHOLE.values()]
    wanted, numbers = set(), range(len(gpt2_blocks(model)))
    for target in target_modules:
        ending = f".{target}"
        found = {
            layer
            for layer in WHOLE.values()
            if any(f".{full_name(model, i, layer)}".endswith(ending) for i in numbers)
        }
        if not found:
            known = ", ".join(WHOLE.values())
            raise ValueError(f"target_modules has {target!r}, but the layers of a GPT-2 block are {known}")
        wanted |= found
    return sorted(wanted)


def read_note(note, config, wanted):
    """(targets, rank, alpha) by our note or, in a file of PEFT without one, for whole layers. ValueError if
    the note and `config` contradict each other.
    """
    if note is None:
        targets = [name for name, layer in WHOLE.items() if layer in wanted]
        return targets, config["r"], config["lora_alpha"]
    try:
        targets, rank, alpha = (json.loads(note)[name] for name in ("targets", "rank", "alpha"))
        check_targets(targets)
        n = fused_count(targets)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"the note in {WEIGHTS} is damaged: {note!r}") from error
    numbers = SETTINGS["r"][1](rank) and SETTINGS["lora_alpha"][1](alpha)
    fits = numbers and (n * rank, n * alpha) == (config["r"], config["lora_alpha"])
    if not fits or {LAYERS[name] for name in targets} != {*wanted}:
        settings = {name: config[name] for name in ("r", "lora_alpha", "target_modules")}
        raise ValueError(f"{CONFIG} and {WEIGHTS} are not from one save: {settings} does not fit {note}")
    return sorted(targets, key=[*LAYERS].index), rank, alpha


def checked_blocks(model, tensors, wanted, r):
    """[{layer: (A, B)} of block 0, of block 1, ...] in the model's precision and on its device. ValueError,
    naming the key, if a tensor is missing, not asked for, misshaped or not finite.
    """
    found = [{} for _ in gpt2_blocks(model)]
    unused = dict(tensors)
    base = dense_layers(model)
    for i in range(len(found)):
        for layer in wanted:
            W = dense_weight(base[f"{i}.{layer}"])
            fan_out, fan_in = W.shape
            for key, shape in zip(tensor_keys(model, i, layer), [(r, fan_in), (fan_out, r)], strict=True):
                if key not in tensors:
                    raise ValueError(f"{WEIGHTS} has no {key}")
                tensor = unused.pop(key)
                if tensor.shape != shape or not tensor.is_floating_point():
                    got = f"{tuple(tensor.shape)} of {tensor.dtype}"
                    raise ValueError(f"{key} must be {shape} of floats for r = {r}, got {got}")
                tensor = tensor.to(W)
                check_finite(key, tensor)
                found[i].setdefault(layer, []).append(tensor)
    if unused:
        raise ValueError(f"{WEIGHTS} has {min(unused)}, but target_modules asks for {', '.join(wanted)} only")
    return found
