"""How long the layers take, beside a frozen dense layer and beside other people's: `make bench` prints tables
for docs/speed.md. In one process and in turn, so that what else the machine does hits all alike: each round
gives a ratio to the floor of the same round, and the table has the median of the ratios and its quartiles.
"""

import time
from functools import partial
from statistics import quantiles

import loralib
import peft
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import profile

from lora_lab.counting import count_parameters, gpt2_parameters
from lora_lab.fast_lora import LinearWithFastLoRA
from lora_lab.gpt2 import ALL_TARGETS, apply_lora_to_gpt2, empty_gpt2, random_gpt2_small
from lora_lab.lora import LinearWithLoRA
from lora_lab.quantization import dequantize, quantize

RANK, ALPHA, TOKENS, ROUNDS = 8, 16, 512, 60


class Naive(nn.Module):
    """The update is built as a matrix in each pass: what not to do."""

    def __init__(self, base):
        super().__init__()
        self.base, self.lora = base, LinearWithLoRA(base, RANK, ALPHA).lora

    def forward(self, x):
        return F.linear(x, self.base.weight + self.lora.delta_W(), self.base.bias)


def layers(inputs, outputs):
    """The layers that are compared, by name; the first is the floor."""
    torch.manual_seed(0)

    def base():
        return nn.Linear(inputs, outputs).requires_grad_(False)

    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
    return {
        "frozen dense layer": base(),
        "LinearWithLoRA": LinearWithLoRA(base(), RANK, ALPHA),
        "LinearWithFastLoRA": LinearWithFastLoRA(base(), RANK, ALPHA),
        "PEFT": peft.get_peft_model(nn.Sequential(base()), config).base_model.model[0],
        "loralib": loralib.Linear(inputs, outputs, r=RANK, lora_alpha=ALPHA),
        "B A built": Naive(base()),
    }


def one_pass(layer, x, gradient):
    """Forward, and backward as far as somebody asks."""
    y = layer(x)
    if y.requires_grad:
        y.backward(gradient)
    x.grad = None


def seconds(work):
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values):
    """Median and quartiles, as text."""
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def ratios(works, rounds=ROUNDS):
    """{name: the ratios of its time to that of the first, one for each round}; two rounds are to warm up."""
    found = {name: [] for name in works}
    for turn in range(rounds + 2):
        times = {name: seconds(work) for name, work in works.items()}
        floor = next(iter(times.values()))
        for name, value in times.items():
            if turn > 1:
                found[name].append(value / floor)
    return found


def peak_bytes(work):
    """The most that is allocated at once while `work` runs, beyond what was there before."""
    work()
    with profile(profile_memory=True) as seen:
        work()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def table(title, columns, rows):
    """A table in Markdown."""
    print(f"\n{title}\n")
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def bench_layers():
    """Time and peak memory of one layer, forward and backward."""
    for inputs, outputs in ((768, 768), (768, 2304)):
        rows = {}
        for asks in (True, False):
            x = torch.randn(TOKENS, inputs, requires_grad=asks)
            gradient = torch.randn(TOKENS, outputs)
            works = {
                name: partial(one_pass, layer, x, gradient) for name, layer in layers(inputs, outputs).items()
            }
            for name, found in ratios(works).items():
                rows.setdefault(name, []).append(spread(found))
                rows[name].append(f"{peak_bytes(works[name]) / 2**20:.1f}")
        columns = ("x asks for a gradient: time", "peak, MiB", "x does not: time", "peak, MiB")
        table(f"**{inputs} to {outputs}**, {TOKENS} tokens, r = {RANK}", columns, rows)


def bench_steps():
    """A step of training of a model of GPT-2 small's shape."""
    torch.manual_seed(0)
    ids = torch.randint(0, 50257, (4, 128))

    def step(model):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5)

        def work():
            model(ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return work

    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True
    )
    models = {
        "full fine-tuning": random_gpt2_small(),
        "LoRA, all linear layers": apply_lora_to_gpt2(random_gpt2_small(), RANK, ALPHA, ALL_TARGETS),
        "the same in PEFT, fused q, k, v": peft.get_peft_model(random_gpt2_small(), config),
    }
    works = {name: step(model.train()) for name, model in models.items()}
    rows = {name: [spread(found)] for name, found in ratios(works, 8).items()}
    table(
        "**A step of GPT-2 small's shape**, 4 texts of 128 tokens, beside full fine-tuning", ("time",), rows
    )


def bench_four_bits():
    """Rounding a weight to NF4 and back, beside bitsandbytes."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    W = torch.randn(768, 3072)
    codes, state = quantize_4bit(W, quant_type="nf4")
    ours = quantize(W)
    both = {
        "quantise": (lambda: quantize_4bit(W, quant_type="nf4"), lambda: quantize(W)),
        "dequantise": (lambda: dequantize_4bit(codes, state), lambda: dequantize(*ours)),
    }
    rows = {}
    for name, works in both.items():
        found = ratios(dict(zip(("bitsandbytes", "ours"), works, strict=True)), 20)["ours"]
        peaks = [f"{peak_bytes(work) / 2**20:.0f}" for work in works]
        rows[name] = [spread(found), *peaks]
    columns = ("time, beside bitsandbytes", "peak of bitsandbytes, MiB", "our peak, MiB")
    table("**NF4**, 768 x 3072 weights", columns, rows)


def bench_counting():
    """Counting a large model."""
    work = {
        "GPT-2 XL, as a model": lambda: count_parameters(empty_gpt2("gpt2-xl")),
        "GPT-3's shape, by the formula": lambda: gpt2_parameters(12288, 96, positions=2048),
    }
    rows = {name: [f"{1000 * min(seconds(do) for _ in range(3)):.1f}"] for name, do in work.items()}
    table("**Counting**", ("milliseconds",), rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread")
    for part in (bench_layers, bench_steps, bench_four_bits, bench_counting):
        part()
