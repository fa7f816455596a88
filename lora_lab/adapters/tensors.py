"""What PEFT calls the tensors of an adapter, and whether those in a file are the ones that a model needs."""

import re

from lora_lab.adapters.files import WEIGHTS, check_finite
from lora_lab.adapters.fused import WHOLE, Update
from lora_lab.adapters.settings import by_pattern
from lora_lab.gpt2 import dense_layers, gpt2_blocks
from lora_lab.lora import dense_weight


def full_name(model, layer):
    """The name in the model without LoRA: "0.attn.c_attn" -> "transformer.h.0.attn.c_attn"."""
    return f"{'transformer.' if hasattr(model, 'transformer') else ''}h.{layer}"


def tensor_keys(model, layer):
    """PEFT's keys of A, B and m."""
    name = f"base_model.model.{full_name(model, layer)}"
    return [f"{name}.{ending}" for ending in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")]


def tensors_of(model, fused):
    """{key: tensor} for the file of these updates. ValueError if a number is not finite."""
    tensors = {}
    for layer, (A, B, _, m) in fused.items():
        for key, tensor in zip(tensor_keys(model, layer), (A, B, m), strict=True):
            if tensor is not None:
                check_finite(key, tensor)
                tensors[key] = tensor.cpu().contiguous().clone()
    return tensors


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
    wanted = set()
    for target in target_modules:
        names = [name for name in dense_layers(model) if f".{full_name(model, name)}".endswith(f".{target}")]
        if not names:
            known = ", ".join(WHOLE.values())
            raise ValueError(f"target_modules has {target!r}, but the layers of a GPT-2 block are {known}")
        wanted |= {name.split(".", 1)[1] for name in names}
    return sorted(wanted)


def wanted_kinds(model, config):
    """{"0.attn.c_attn": (rank, alpha), ...}: the layers that `config` asks for, in all blocks."""
    wanted, kinds = wanted_layers(model, config["target_modules"]), {}
    for layer in dense_layers(model):
        if layer.split(".", 1)[1] in wanted:
            name = full_name(model, layer)
            rank = by_pattern(name, config["r"], config["rank_pattern"])
            kinds[layer] = rank, by_pattern(name, config["lora_alpha"], config["alpha_pattern"])
    return kinds


def checked_updates(model, tensors, kinds, dora):
    """{"0.attn.c_attn": Update, ...} of these kinds, with m if it is DoRA, in the model's precision and on
    its device. ValueError, naming the key, if a tensor is missing, not asked for, misshaped or not finite.
    """
    unused, updates, base = dict(tensors), {}, dense_layers(model)
    for layer, (r, alpha) in kinds.items():
        W, parts = dense_weight(base[layer]), []
        shapes = [(r, W.shape[1]), (W.shape[0], r), (W.shape[0],)]
        for key, shape in [*zip(tensor_keys(model, layer), shapes, strict=True)][: 3 if dora else 2]:
            if key not in tensors:
                raise ValueError(f"{WEIGHTS} has no {key}")
            tensor = unused.pop(key)
            if tensor.shape != shape or not tensor.is_floating_point():
                got = f"{tuple(tensor.shape)} of {tensor.dtype}"
                raise ValueError(f"{key} must be {shape} of floats for r = {r}, got {got}")
            parts.append(tensor.to(W))
            check_finite(key, parts[-1])
        updates[layer] = Update(*parts[:2], alpha, *parts[2:])
    if unused:
        asked = ", ".join(sorted({layer.split(".", 1)[1] for layer in kinds}))
        raise ValueError(f"{WEIGHTS} has {min(unused)}, but target_modules asks for {asked} only")
    return updates
