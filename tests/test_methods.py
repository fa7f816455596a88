"""The ways to fine-tune that the lessons compare."""

import re

import pytest
import torch

from lora_lab.gpt2 import load_gpt2
from lora_lab.random_subspace import RandomSubspace
from lora_lab.runs.methods import LORA_TARGETS, VARIANTS, make_trainable, options_of
from lora_lab.variants import DoRALayer


def test_each_method_trains_what_it_says_and_nothing_else():
    def trained(method, **options):
        model = make_trainable(load_gpt2(), method, **options)
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    assert trained("full") == {name for name, _ in load_gpt2().named_parameters()}
    assert all(name.endswith("bias") for name in trained("biases")) and len(trained("biases")) == 25
    assert all(name.startswith("transformer.h.3.") for name in trained("last block"))
    for method in (*LORA_TARGETS, *VARIANTS):
        assert all(re.search(r"\.([AB]|m)$", name) for name in trained(method))
    assert [len(trained(method)) for method in LORA_TARGETS] == [4 * 2 * 6, 4 * 2 * 4]
    assert len(trained("LoRA", targets=("q", "fc"))) == 4 * 2 * 2
    assert len(trained("dense")) == 16 and trained("subspace") == {"z"}


def test_options_reach_the_model():
    torch.manual_seed(0)
    model = make_trainable(load_gpt2(), "DoRA", rank=3, alpha=6, targets=("q",))
    layers = [module for module in model.modules() if isinstance(module, DoRALayer)]
    assert len(layers) == 4 and all((layer.rank, layer.alpha) == (3, 6) for layer in layers)
    spaces = [make_trainable(load_gpt2(), "subspace", d=5, seed=seed) for seed in (0, 1)]
    assert all(isinstance(space, RandomSubspace) and len(space.z) == 5 for space in spaces)
    assert not torch.equal(spaces[0].which, spaces[1].which)


def test_an_unknown_method_is_refused_and_the_model_stays():
    model = load_gpt2()
    with pytest.raises(ValueError, match=r"LoRA, all linear layers; .*got 'prefix'"):
        make_trainable(model, "prefix")
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="prefix"):
        options_of("prefix")
