"""The ways to fine-tune a GPT-2 that the lessons compare: what each of them trains."""

from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, dense_names, gpt2_blocks
from lora_lab.random_subspace import RandomSubspace
from lora_lab.spectra import train_only_dense
from lora_lab.variants import use_dora, use_pissa, use_random_directions

# LoRA on matrices that the method's name says, ...
LORA_TARGETS = {"LoRA, all linear layers": ALL_TARGETS, "LoRA on q, k, v, o": ATTENTION_TARGETS}
# ... and on matrices of one's choice, with what is done to it then.
VARIANTS = {"LoRA": None, "PiSSA": use_pissa, "random directions": use_random_directions, "DoRA": use_dora}
METHODS = ("full", *LORA_TARGETS, "last block", "biases")  # what lesson 10 compares
OTHERS = ("dense", "subspace", *VARIANTS)
RANK, ALPHA = 8, 16


def make_trainable(model, method, rank=RANK, alpha=ALPHA, targets=ALL_TARGETS, d=1024, seed=0):
    """Let what `method`, one of METHODS or OTHERS, trains ask for a gradient, and nothing else. `model` is
    changed in place and returned; for "subspace" it is returned inside a `RandomSubspace` of `d` numbers,
    drawn with `seed`. `options_of` says which arguments a method heeds. ValueError if there is no such
    method.
    """
    options = options_of(method)
    if "rank" in options:
        model = apply_lora_to_gpt2(model, rank, alpha, LORA_TARGETS.get(method, targets))
        change = VARIANTS.get(method)
        return change(model) if change else model
    if method == "subspace":
        return RandomSubspace(model, dense_names(model), d, seed)
    if method == "dense":
        return train_only_dense(model)
    chosen = {
        "full": list(model.parameters()),
        "last block": list(gpt2_blocks(model)[-1].parameters()),
        "biases": [parameter for name, parameter in model.named_parameters() if name.endswith("bias")],
    }[method]
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return model


def options_of(method):
    """Which arguments of `make_trainable` say something to `method`. ValueError if it is unknown."""
    if method not in (*METHODS, *OTHERS):
        raise ValueError(f"method must be one of {'; '.join((*METHODS, *OTHERS))}, got {method!r}")
    if method in LORA_TARGETS:
        return "rank", "alpha"
    if method in VARIANTS:
        return "rank", "alpha", "targets"
    return ("d", "seed") if method == "subspace" else ()
