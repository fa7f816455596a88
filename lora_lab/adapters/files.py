"""The two files of an adapter on disk, in PEFT's format: read strictly, written whole or not at all.

adapter_model.safetensors holds A (r, in) and B (out, r) of each adapted layer, adapter_config.json says what
r, alpha and the layers are. Format: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
NOTE = "lora_lab"  # where the metadata of WEIGHTS hold our own targets, rank and alpha

# What a setting of PEFT must be, in words and as a test; which may be absent; and which do not change what a
# loaded adapter computes. Of all others we implement only "off".
SETTINGS = {
    "peft_type": ("'LORA'", lambda value: value == "LORA"),
    "r": ("a whole number from 1", lambda value: type(value) is int and value >= 1),
    "lora_alpha": ("a positive number", lambda value: type(value) in (int, float) and 0 < value < 1e300),
    "lora_dropout": ("from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1),
    "target_modules": (
        "a list of names or 'all-linear'",
        lambda value: value == "all-linear" or (isinstance(value, list) and value != []),
    ),
    "bias": ("'none'", lambda value: value == "none"),
    "init_lora_weights": (
        "a start that leaves the base model as it is",
        lambda value: value in (True, False, "gaussian", "orthogonal"),
    ),
}
DEFAULTS = {"lora_dropout": 0.0, "bias": "none", "init_lora_weights": True}
WITHOUT_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "megatron_core", "peft_version"),
    *("qalora_group_size", "revision", "runtime_config", "task_type"),
    "fan_in_fan_out",  # A and B are stored alike either way
}


def read_config(folder):
    """The settings in adapter_config.json, with DEFAULTS. Raises what `load_adapter` raises."""
    path = existing(folder, CONFIG)
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold settings by name, got {config!r}")
    config = DEFAULTS | config
    for name, (needed, is_right) in SETTINGS.items():
        if name not in config:
            raise ValueError(f"{path} has no {name}: it must be {needed}")
        if not is_right(config[name]):
            raise ValueError(f"{name} must be {needed}, got {config[name]!r} in {path}")
    for name in sorted(config.keys() - SETTINGS - WITHOUT_EFFECT):
        if config[name] not in (None, [], {}) and config[name] is not False:
            raise ValueError(f"{name} is not implemented here, and it is {config[name]!r} in {path}")
    return config


def read_weights(folder):
    """({key: tensor}, our note or None) in adapter_model.safetensors. Raises what `load_adapter` raises."""
    path = existing(folder, WEIGHTS)
    try:
        with safe_open(path, "pt") as file:
            keys, metadata = file.keys(), file.metadata() or {}
            return {key: file.get_tensor(key) for key in keys}, metadata.get(NOTE)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def existing(folder, name):
    """The path of a file. FileNotFoundError if it or its folder is missing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if not (folder / name).is_file():
        raise FileNotFoundError(f"there is no {name} in {folder}: an adapter is {CONFIG} and {WEIGHTS}")
    return folder / name


def check_finite(key, tensor):
    """Raise ValueError if a tensor holds a NaN or infinite number."""
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{key} holds a NaN or infinite number")


def base_name(name):
    """What an adapter says it was made for: `name` on the hub, or None. Of a folder it is the last part only:
    where it lies on this machine is nobody else's business.
    """
    if not name:
        return None
    of_hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not os.path.exists(name)
    return name if of_hub else os.path.basename(os.path.abspath(name))


def replace_files(folder, contents):
    """Write {name: bytes} to `folder` as `save_adapter` promises. Each file is complete, under another name,
    before it takes the place of the old one.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"an adapter is a folder, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    old = {name: (folder / name).read_bytes() for name in contents if (folder / name).exists()}
    with TemporaryDirectory(prefix=".saving-", dir=folder) as new:
        for name, content in contents.items():
            with open(Path(new, name), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            if old.get(CONFIG) != contents[CONFIG]:
                (folder / CONFIG).unlink(missing_ok=True)  # nobody shall read the new weights by it
            for name in (WEIGHTS, CONFIG):
                os.replace(Path(new, name), folder / name)
        except BaseException:
            for name in (WEIGHTS, CONFIG):
                if name in old:
                    (folder / name).write_bytes(old[name])
                else:
                    (folder / name).unlink(missing_ok=True)
            raise
