"""The runs of lesson 14: the same LoRA on a base in float32, in NF4, in three levels, and of random weights;
and on three levels from two other starts, LoftQ's and a random one of the same size.

The rate of each is chosen on one half of the held-out stories, what it comes to is said of the other half.
"""

from dataclasses import dataclass

import torch

from lora_lab.gpt2 import dense_layers, load_gpt2
from lora_lab.loftq import loftq, use_loftq
from lora_lab.merging import adapted_weights
from lora_lab.quantization import NF4
from lora_lab.quantized_layers import quantize_gpt2
from lora_lab.runs import lowest, runs_of
from lora_lab.runs.methods import make_trainable
from lora_lab.runs.one_run import SEEDS, Setting, halves, in_parallel, train_run
from lora_lab.training import evaluate

THREE = torch.tensor([-1.0, 0.0, 1.0])
LEVELS = {"NF4": NF4, "three levels": THREE}
ROUNDS = 2  # of LoftQ: of 1 to 5, those that leave the least rounding error in three levels
RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)
COMPARED = (  # base and start
    ("float32", "usual"),
    ("NF4", "usual"),
    ("three levels", "usual"),
    ("three levels", "LoftQ"),
    ("three levels", "random"),
    ("random weights", "usual"),
)
WITH_NEIGHBOURS = COMPARED[:3]  # also run with every seed at the rates beside the best one


@dataclass(frozen=True)
class OnBase(Setting):
    """A run on one of the bases, from one of the starts of COMPARED."""

    base: str = "float32"
    start: str = "usual"


def on_base(base, start, rate, seed=0, steps=60, held_out=200):
    """A run of this topic: LoRA on all linear layers."""
    method, stories = "LoRA, all linear layers", 16 * steps
    return OnBase(
        method, rate, seed=seed, stories=stories, steps=steps, held_out=held_out, base=base, start=start
    )


SHORT = on_base("three levels", "LoftQ", 5e-3, steps=10, held_out=40)  # quickly made again


def adapted_base(setting):
    """The model of `setting`, before training: its base with LoRA at its start."""
    model, levels = load_gpt2(), LEVELS.get(setting.base)
    if setting.base == "random weights":
        randomise(model)
    make_trainable(model, setting.method, **setting.options())
    if setting.start == "LoftQ":
        return use_loftq(model, levels, ROUNDS)
    if setting.start == "random":
        start_at_random(model, levels)
    return model if levels is None else quantize_gpt2(model, levels)


@torch.no_grad()
def randomise(model):
    """Random numbers of the same norm in the place of each dense weight."""
    draw = torch.Generator().manual_seed(5)
    for layer in dense_layers(model).values():
        noise = torch.randn(layer.weight.shape, generator=draw).to(layer.weight)
        layer.weight.copy_(noise * layer.weight.norm() / noise.norm())


@torch.no_grad()
def start_at_random(model, levels):
    """The control of LoftQ: A and B of the size that it gives them, with their entries drawn at random."""
    draw = torch.Generator().manual_seed(6)
    for W0, layer in adapted_weights(model):
        _, B, A = loftq(W0, layer.rank, levels, ROUNDS)
        noise = [torch.randn(factor.shape, generator=draw).to(factor) for factor in (B, A)]
        share = ((B @ A).norm() / (noise[0] @ noise[1]).norm() / layer.scale).sqrt()
        layer.B.copy_(noise[0] * share)
        layer.A.copy_(noise[1] * share)


def losses_of(model, held_out, wanted=("chosen", "pirate", "plain")):
    """The losses of `model`: "chosen" on the half of the pirate stories to choose on; "pirate" and "plain" on
    the half to report.
    """
    choose, report = halves("pirate", held_out)
    data = {"chosen": choose, "pirate": report, "plain": halves("plain", held_out)[1]}
    return {name: round(evaluate(model, *data[name]), 5) for name in wanted}


def measure_base(setting):
    """One run with its losses, and with that on pirate stories before training, "start_loss"."""
    before = {}

    def fresh(setting):
        model = adapted_base(setting)
        before["start_loss"] = losses_of(model, setting.held_out, ("pirate",))["pirate"]
        return model

    model, run = train_run(setting, fresh)
    return run | before | losses_of(model, setting.held_out)


def settings_of_bases():
    """What is run first: every rate for every base and start."""
    return [on_base(base, start, rate) for base, start in COMPARED for rate in RATES]


def settings_of_more_seeds(runs):
    """What is run next: the other seeds at the rate that was best for each, and at its neighbours for
    those WITH_NEIGHBOURS.
    """
    more = []
    for base, start in COMPARED:
        best = RATES.index(lowest(runs_of(runs, base=base, start=start, seed=0), "chosen")["rate"])
        reach = 1 if (base, start) in WITH_NEIGHBOURS else 0
        near = RATES[max(0, best - reach) : best + reach + 1]
        more += [on_base(base, start, rate, seed) for rate in near for seed in SEEDS[1:]]
    return more


def qlora_runs():
    """Make everything anew: what is stored, as a dict."""
    runs = in_parallel(settings_of_bases(), measure_base)
    runs += in_parallel(settings_of_more_seeds(runs), measure_base)
    return {"bases": runs, "short": in_parallel([SHORT], measure_base)}
