"""Checkers of lesson 15, the capstone."""

import tempfile
from itertools import pairwise
from pathlib import Path

from lora_lab.adapters import load_adapter, save_adapter
from lora_lab.checks import attempt, checker, is_blank
from lora_lab.gpt2 import apply_lora_to_gpt2, load_gpt2
from lora_lab.story_gpt2.batches import encode_texts
from lora_lab.story_gpt2.parts import labels_by_part
from lora_lab.training import IGNORED, evaluate

LEARNED, KEPT, SIZE, RUNS = 0.9, 0.1, 0.1, 4  # what is asked of an adapter, and the budget
TRAINING, HELD_OUT = 640, 600  # texts: of the held-out ones the lesson takes 400, and the last checker 200


@checker
def check_tell(tell):
    """Exercise 15.1: repeatable, held-out texts of their own, and something in them to be learned."""
    answer = attempt(tell, 40, True)
    if not isinstance(answer, tuple) or len(answer) != 2:
        return "return two things, the texts and their nats: `return texts, nats`, or `return texts, None`"
    texts, nats = answer
    if len(texts) != 40 or not all(isinstance(text, str) for text in texts):
        return f"40 texts were asked for, and you return {len(texts)}: a list of strings, one a story"
    if nats is not None and len(nats) != 40:
        return f"there are 40 texts and {len(nats)} numbers of nats: one for each, or None for all"
    if tell(60, True)[0][:40] != texts:
        return "called again for more texts it tells other ones: draw with a fixed seed, in a fixed order"
    if set(tell(TRAINING, False)[0]) & set(tell(HELD_OUT, True)[0]):
        return "some held-out texts are among those that are trained on: nothing could be measured with them"
    for held_out, wanted in ((False, TRAINING), (True, HELD_OUT)):
        told = len(tell(wanted, held_out)[0])
        if told < wanted:
            kind = "held-out texts" if held_out else "texts to train on"
            return f"the lesson needs {wanted} {kind}, and there are {told}: more lines, or more sentences"
    ids, labels = encode_texts(texts)
    loss = evaluate(load_gpt2(), ids, labels)
    floor = 0 if nats is None else sum(nats) / (labels[:, 1:] != IGNORED).sum().item()
    if loss < floor:
        return (
            f"the base has {loss:.2f} nats a token and your floor is {floor:.2f}: no loss is below its floor"
        )
    if nats is not None and loss < floor + 0.05:
        return f"the base is at {loss:.2f}, the floor at {floor:.2f}: it knows these stories already"


@checker
def check_plan(plan):
    """Exercise 15.2: a plan within the budget."""
    if not isinstance(plan, dict) or plan.keys() != {"targets", "rank", "alpha", "rates"}:
        return "a plan is a dictionary with the keys targets, rank, alpha and rates, and no others"
    rates = sorted(plan["rates"])
    if not 2 <= len(rates) <= RUNS:
        return f"the budget is {RUNS} runs, and one rate is no sweep; yours has {len(rates)}"
    if any(not 1.5 <= high / low <= 5 for low, high in pairwise(rates)):
        return "rates a factor of two to four apart: nearer ones cost runs, farther ones jump over the best"
    if rates[0] > 0.02:
        return "all of these are too large: beyond 0.02 even a small LoRA falls apart (lesson 10)"
    if rates[-1] < 2e-3:
        return "all of these are rates of full fine-tuning: LoRA wants larger ones (lesson 10)"
    model = apply_lora_to_gpt2(load_gpt2(), plan["rank"], plan["alpha"], tuple(plan["targets"]))
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, folder)
        size = share_of_bytes(folder)
    if size > SIZE:
        return (
            f"the file would be {size:.1%} of the model's bytes, and {SIZE:.0%} is the budget: a lower rank?"
        )


@checker
def check_adapter(folder, tell, full_loss):
    """Exercise 15.3: the saved adapter on a fresh base, and stories that it has not met."""
    told = tell(HELD_OUT, True)
    if is_blank(told):
        return "it has learned pirate speech, which was the example: first write stories of your own (15.1)"
    data = encode_texts(told[0][400:])
    plain, parts = labels_by_part(200)
    base, adapted = load_gpt2(), load_adapter(load_gpt2(), folder)
    learned = (evaluate(base, *data) - evaluate(adapted, *data)) / (evaluate(base, *data) - full_loss)
    before, after = (evaluate(model, plain, parts["recalled words"]) for model in (base, adapted))
    if learned < LEARNED:
        return (
            f"on other stories it goes {learned:.0%} of the way to full fine-tuning, and not {LEARNED:.0%}: "
            "is the best rate inside your sweep? More steps, for both?"
        )
    if after - before > KEPT:
        return (
            f"what the base remembered costs {after - before:.2f} nats more, and {KEPT} is allowed: a lower "
            "rate or fewer steps keep more"
        )
    if share_of_bytes(folder) > SIZE:
        return f"the file has {share_of_bytes(folder):.1%} of the model's bytes, and {SIZE:.0%} is the budget"


def share_of_bytes(folder):
    """The bytes of the adapter in `folder` beside those of the base's numbers."""
    of_model = sum(parameter.nbytes for parameter in load_gpt2().parameters())
    return (Path(folder) / "adapter_model.safetensors").stat().st_size / of_model
