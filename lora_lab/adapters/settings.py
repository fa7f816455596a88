"""The settings in adapter_config.json, in PEFT's names: which of them change what a loaded adapter computes,
and what each may be here. https://huggingface.co/docs/peft/package_reference/lora
"""

import json
import os
import re
from collections import Counter


def shown(value):
    """Its repr, of which a message can bear 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def is_rank(value):
    return type(value) is int and value >= 1


def is_alpha(value):
    return type(value) in (int, float) and 0 < value < 1e300


def is_pattern(value, is_right):
    """Whether `value` is {name of layers, as a regular expression: what is right for them}, or nothing."""
    if value is None:
        return True
    try:
        return all(re.compile(rf"(.*\.)?({name})$") and is_right(of_name) for name, of_name in value.items())
    except (AttributeError, TypeError, re.error, OverflowError, RecursionError):
        return False


# What a setting of PEFT must be, in words and as a test; which may be absent; and which do not change what a
# loaded adapter computes. Of all others we implement only "off".
SETTINGS = {
    "peft_type": ("'LORA'", lambda value: value == "LORA"),
    "r": ("a whole number from 1", is_rank),
    "lora_alpha": ("a positive number", is_alpha),
    "rank_pattern": ("ranks by the names of layers", lambda value: is_pattern(value, is_rank)),
    "alpha_pattern": ("positive numbers by the names of layers", lambda value: is_pattern(value, is_alpha)),
    "use_rslora": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "use_dora": ("true or false", lambda value: value is None or isinstance(value, bool)),
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
DEFAULTS = {
    **{"lora_dropout": 0.0, "bias": "none", "init_lora_weights": True},
    **{"rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False, "use_dora": False},
}
WITHOUT_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "megatron_core", "peft_version"),
    *("qalora_group_size", "revision", "runtime_config", "task_type"),
    "fan_in_fan_out",  # A and B are stored alike either way
}


def checked_config(content, path):
    """The settings in `content`, the bytes of `path`, with DEFAULTS. ValueError, naming the setting, for what
    is not right or not implemented here.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold settings by name, got {shown(config)}")
    config = DEFAULTS | config
    for name, (needed, is_right) in SETTINGS.items():
        if name not in config:
            raise ValueError(f"{path} has no {name}: it must be {needed}")
        if not is_right(config[name]):
            raise ValueError(f"{name} must be {needed}, got {shown(config[name])} in {path}")
    for name in sorted(config.keys() - SETTINGS - WITHOUT_EFFECT):
        if config[name] not in (None, [], {}) and config[name] is not False:
            raise ValueError(f"{name} is not implemented here, and it is {shown(config[name])} in {path}")
    return config


def as_pattern(values):
    """{"0.attn.c_attn": value, ...} as (value of most layers, {name of others: their value}), by which PEFT
    finds each value again: `attn.c_attn` for the layer of all blocks, `h.0.attn.c_attn` for that of one.
    """
    counts = Counter(values.values())
    default = min(counts, key=lambda value: (-counts[value], value))
    pattern = {}
    for layer in sorted({name.split(".", 1)[1] for name in values}):
        of_layer = {name: value for name, value in values.items() if name.split(".", 1)[1] == layer}
        if len({*of_layer.values()}) == 1:
            of_layer = {layer: values[f"0.{layer}"]}
        pattern |= {
            name if name == layer else f"h.{name}": value
            for name, value in of_layer.items()
            if value != default
        }
    return default, pattern


def by_pattern(full_name, default, pattern):
    """The value of the layer of this name, such as transformer.h.0.attn.c_attn: as in PEFT, that of the first
    key in `pattern` that its end matches, in whole dotted parts.
    """
    found = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", full_name))
    return next(found, default)


def base_name(name):
    """What an adapter says it was made for: `name` on the hub, or None. Of a folder it is the last part only:
    where it lies on this machine is nobody else's business.
    """
    if not name:
        return None
    of_hub = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) and not os.path.exists(name)
    return name if of_hub else os.path.basename(os.path.abspath(name))
