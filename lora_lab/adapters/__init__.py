"""Save and load LoRA adapters, in the file format of PEFT, the library that most people use.

`updates` takes LoRA out of a model and puts it in; `fused` makes of separate q, k and v the one layer that
PEFT adapts, and with the `note` comes back; `settings` and `tensors` say what is in the two files, which
`files` reads and writes.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from lora_lab.adapters.files import CONFIG, NOTE, WEIGHTS, read_files, replace_files
from lora_lab.adapters.fused import fuse, take_apart
from lora_lab.adapters.note import noted_kinds, written_note
from lora_lab.adapters.settings import as_pattern, base_name, checked_config
from lora_lab.adapters.tensors import check_base_size, checked_updates, tensors_of, wanted_kinds
from lora_lab.adapters.updates import check_base, put_updates, updates_of


@torch.no_grad()
def save_adapter(model, folder):
    """Write the LoRA that `apply_lora_to_gpt2` put into `model` to `folder`, and return `model`. In PEFT,
    `PeftModel.from_pretrained(base, folder)` reads it. rsLoRA and DoRA are marked as such; PiSSA, whose r
    directions are missing from the frozen weights, becomes LoRA of rank 2 r for the base as it was. After
    `use_loftq` the numbers fit that base alone, which is not the one that the file names.

    An adapter that is there is replaced, other files stay; a process killed while it saves leaves the old
    adapter or the new one. Raises, with nothing written, ValueError if there is no LoRA, if the format has no
    place for what a layer does, or if a number is not finite; RuntimeError if LoRA is merged; TypeError if
    `model` is no GPT-2.
    """
    updates, rslora, dropout = updates_of(model)
    fused = fuse(updates, rslora)
    tensors = tensors_of(model, fused)
    r, rank_pattern = as_pattern({layer: update.kind[0] for layer, update in fused.items()})
    alpha, alpha_pattern = as_pattern({layer: update.kind[1] for layer, update in fused.items()})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if hasattr(model, "lm_head") else None,
        "base_model_name_or_path": base_name(getattr(model, "name_or_path", None)),
        "r": r,
        "rank_pattern": rank_pattern,
        "lora_alpha": alpha,
        "alpha_pattern": alpha_pattern,
        "lora_dropout": dropout,
        "target_modules": sorted({layer.split(".", 1)[1] for layer in fused}),
        "use_rslora": rslora,
        "use_dora": any(update.m is not None for update in fused.values()),
        "fan_in_fan_out": True,
        "bias": "none",
        "inference_mode": True,
    }
    weights = save(tensors, {NOTE: written_note(updates, rslora)})
    contents = {WEIGHTS: weights, CONFIG: json.dumps(config, indent=2).encode()}
    replace_files(Path(folder), contents)
    return model


@torch.no_grad()
def load_adapter(model, folder):
    """Put the adapter in `folder`, from `save_adapter` or from PEFT, into the GPT-2 `model`, and return
    `model`.

    If the model has LoRA of this kind, with these targets, ranks, alphas and this dropout, that gets the new
    numbers; any other is removed first. Nothing is guessed, and an error leaves `model` untouched:
    FileNotFoundError if a file is missing; ValueError if one is damaged, if the two are not from one save, if
    a setting is not implemented, if a tensor is missing, not asked for, misshaped or not finite, if the base
    had another size, or if LoRA is in it that `use_pissa` has started (once that is taken out, nobody can
    tell), that is in some blocks only or not lora_lab's; RuntimeError if LoRA is merged; TypeError if `model`
    is no GPT-2.
    """
    content, tensors, note = read_files(Path(folder))
    config = checked_config(content, Path(folder, CONFIG))
    check_base_size(model, tensors)
    check_base(model)
    layers = wanted_kinds(model, config)
    kinds = noted_kinds(note, layers, config)
    updates = take_apart(checked_updates(model, tensors, layers, config["use_dora"]), kinds)
    return put_updates(model, updates, config["use_rslora"], config["lora_dropout"])
