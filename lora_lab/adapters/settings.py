"""The settings in adapter_config.json, in PEFT's names: which of them change what a loaded adapter computes,
and what each may be here. https://huggingface.co/docs/peft/package_reference/lora
"""

import json

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


def checked_config(content, path):
    """The settings in `content`, the bytes of `path`, with DEFAULTS. ValueError, naming the setting, for what
    is not right or not implemented here.
    """
    try:
        config = json.loads(content)
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
