"""Checkers of lesson 07, GPT-2 parameter counting."""

from lora_lab.checks import NotAttempted, attempt, checker, is_blank
from lora_lab.counting import count_parameters, count_trainable_parameters
from lora_lab.gpt2 import apply_lora_to_gpt2, empty_gpt2


@checker
def check_mlp_lora(mlp_lora):
    """Exercise 7.1: layers * 2 * rank * (d + 4 d) = 10 * d * rank * layers."""
    count = attempt(mlp_lora, 768, 12, 8)
    if count == 368_640:
        return "this is one of the two matrices"
    if count == 294_912:
        return "two square matrices would cost that; one side of the MLP's is 4 d"
    if count == 61_440:
        return "this is one layer; how many are there?"
    if count == 4 * 2 * 768 * 768 * 12:
        return "this is the base; LoRA trains rank * (in + out) per matrix"
    if count != 737_280:
        return f"for GPT-2 small at rank 8 it must be 12 * 2 * 8 * (768 + 3072), yours is {count:,}"
    if mlp_lora(10, 3, 2) != 600:
        return f"for d = 10, 3 layers and rank 2 it must be 600, yours is {mlp_lora(10, 3, 2)}"


@checker
def check_explanation(explanation):
    """Exercise 7.2: the parts of each count add up to it."""
    numbers = {
        "LoRA on q, k, v, o": 589_824,
        "LoRA on q, v": 294_912,
        "token vectors": 38_597_376,
        "attention base": 28_348_416,
        "MLP base": 56_669_184,
    }
    if any(is_blank(names) for names in explanation.values()):
        raise NotAttempted
    for count in (39_187_200, 28_938_240, 294_912):
        names = explanation[count]
        if isinstance(names, str):
            names = [names]
        unknown = [name for name in names if name not in numbers]
        if unknown:
            return f"{unknown[0]!r} is none of the names: {', '.join(numbers)}"
        total = sum(numbers[name] for name in set(names))
        if total != count:
            rest = count - total
            return f"{' + '.join(names)} makes {total:,}, and {count:,} was reported: {rest:,} to explain"


@checker
def check_lora_share(lora_share):
    """Exercise 7.3: 100 * trainable / all, with LoRA's own numbers among all."""
    share = attempt(lora_share, "gpt2", 8, ("c_attn",))
    model = apply_lora_to_gpt2(empty_gpt2("gpt2"), 8, 8, ("c_attn",))
    trainable, total = count_trainable_parameters(model), count_parameters(model)
    right = 100 * trainable / total
    if abs(share - right / 100) < 1e-7:
        return "this is a fraction; in per cent it is a hundred times as much"
    if abs(share - 100 * trainable / (total - trainable)) < 1e-6:
        return "you divide by the pretrained numbers alone; PEFT divides by all, with the new ones"
    if abs(share - 100 * (total - trainable) / total) < 1e-6:
        return "this is the share that is frozen"
    if abs(share - right) > 1e-6:
        return f"for c_attn of GPT-2 small at r = 8 PEFT says {right:.4f} %, yours is {share:.4f}"
    model = apply_lora_to_gpt2(empty_gpt2("gpt2-medium"), 4, 4, ("q", "v"))
    right = 100 * count_trainable_parameters(model) / count_parameters(model)
    if abs(lora_share("gpt2-medium", 4, ("q", "v")) - right) > 1e-6:
        return (
            f"for q and v of gpt2-medium at r = 4 it must be {right:.4f} %: does it use all three arguments?"
        )
