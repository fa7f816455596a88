"""The ways to fine-tune a GPT-2 that the lessons compare: what each of them trains."""

from lora_lab.attention import ATTENTION_TARGETS
from lora_lab.gpt2 import apply_lora_to_gpt2, gpt2_blocks

LORA_TARGETS = {
    "LoRA, all linear layers": (*ATTENTION_TARGETS, "fc", "proj"),
    "LoRA on q, k, v, o": ATTENTION_TARGETS,
}
METHODS = ("full", *LORA_TARGETS, "last block", "biases")
RANK, ALPHA = 8, 16


def make_trainable(model, method, rank=RANK):
    """Let what `method`, one of METHODS, trains ask for a gradient, and nothing else. `model` is changed in
    place and returned. KeyError if there is no such method.
    """
    if method in LORA_TARGETS:
        return apply_lora_to_gpt2(model, rank, ALPHA, LORA_TARGETS[method])
    chosen = {
        "full": list(model.parameters()),
        "last block": list(gpt2_blocks(model)[-1].parameters()),
        "biases": [parameter for name, parameter in model.named_parameters() if name.endswith("bias")],
    }[method]
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return model
