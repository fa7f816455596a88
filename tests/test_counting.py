"""Parameters of GPT-2 and of LoRA, counted, by formula, and as printed elsewhere."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lora_lab.counting import (
    count_parameters,
    count_trainable_parameters,
    gpt2_parameters,
    lora_parameters,
)
from lora_lab.gpt2 import GPT2_SIZES, apply_lora_to_gpt2, empty_gpt2

PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


def test_a_dense_layer_is_counted_with_its_bias():
    assert count_parameters(nn.Linear(3, 4)) == 3 * 4 + 4
    assert count_parameters(nn.Linear(3, 4, bias=False)) == 12


def test_a_shared_weight_is_counted_once():
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 5), "head": nn.Linear(5, 7, bias=False)})
    assert count_parameters(model) == 70
    model["head"].weight = model["embedding"].weight
    assert count_parameters(model) == 35


def test_frozen_parameters_are_counted_but_are_not_trainable():
    model = nn.Linear(3, 4)
    model.weight.requires_grad_(False)
    assert count_parameters(model) == 16
    assert count_trainable_parameters(model) == 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_formula_and_the_model_give_the_published_size(name):
    size = GPT2_SIZES[name]
    assert gpt2_parameters(size["n_embd"], size["n_layer"]) == PUBLISHED[name]
    assert count_parameters(empty_gpt2(name)) == PUBLISHED[name]


def test_the_formula_takes_another_vocabulary_and_length():
    # By hand: 7 x 4 + 5 x 4 embeddings, one block of 12 x 16 + 13 x 4, and 8 at the end.
    assert gpt2_parameters(4, 1, vocabulary=7, positions=5) == 28 + 20 + 244 + 8


@pytest.mark.parametrize(
    ("targets", "trainable"),
    [
        (("c_attn",), 294_912),
        (("q", "v"), 294_912),
        (("q", "k", "v", "o"), 589_824),
        (("c_attn", "o", "proj"), 811_008),
        (("c_attn", "o", "fc", "proj"), 1_179_648),
    ],
    ids=str,
)
def test_lora_of_rank_eight_on_the_small_gpt2(targets, trainable):
    model = apply_lora_to_gpt2(empty_gpt2("gpt2"), 8, 16, targets)
    assert count_trainable_parameters(model) == trainable
    assert count_parameters(model) == 124_439_808 + trainable


def test_peft_counts_the_same_by_default():
    theirs = get_peft_model(empty_gpt2("gpt2"), LoraConfig(r=8, task_type="CAUSAL_LM", fan_in_fan_out=True))
    assert theirs.get_nb_trainable_parameters() == (294_912, 124_734_720)
    ours = apply_lora_to_gpt2(empty_gpt2("gpt2"), 8, 8, ("c_attn",))
    assert (count_trainable_parameters(ours), count_parameters(ours)) == (294_912, 124_734_720)


def square(width, matrices):
    return [(width, width)] * matrices


@pytest.mark.parametrize(
    ("shapes", "rank", "numbers"),
    [
        pytest.param([(3, 4)], 1, 7, id="by hand"),
        pytest.param([], 8, 0, id="nothing"),
        pytest.param([(768, 2304)] * 12, 8, 294_912, id="GPT-2 small, c_attn"),
        pytest.param(square(768, 2 * 12), 8, 294_912, id="GPT-2 small or RoBERTa base, q and v"),
        pytest.param(square(768, 4 * 12), 8, 589_824, id="GPT-2 small, q, k, v and o"),
        pytest.param([(768, 2304), (768, 768), (3072, 768)] * 12, 8, 811_008, id="c_attn and both c_proj"),
        pytest.param([(768, 2304), (768, 768), (768, 3072), (3072, 768)] * 12, 8, 1_179_648, id="all Conv1D"),
        pytest.param(square(1024, 2 * 24), 8, 786_432, id="RoBERTa large"),
        pytest.param(square(1024, 2 * 24), 4, 393_216, id="GPT-2 medium"),
        pytest.param(square(1280, 2 * 36), 4, 737_280, id="GPT-2 large"),
        pytest.param(square(12_288, 2 * 96), 1, 4_718_592, id="GPT-3, 4.7M"),
        pytest.param(square(12_288, 2 * 96), 4, 18_874_368, id="GPT-3, 18M"),
        pytest.param(square(12_288, 2 * 96), 8, 37_748_736, id="GPT-3, 37.7M"),
        pytest.param(square(12_288, 4 * 96), 4, 37_748_736, id="GPT-3, 37.7M on four matrices"),
        pytest.param(square(12_288, 2 * 96), 64, 301_989_888, id="GPT-3, 301.9M"),
    ],
)
def test_numbers_in_a_and_b(shapes, rank, numbers):
    assert lora_parameters(shapes, rank) == numbers


def test_the_two_top_blocks_of_gpt2_medium():
    blocks = empty_gpt2("gpt2-medium").transformer.h[-2:]
    assert count_parameters(blocks) == 25_192_448


def test_the_printed_count_of_new_layers_left_trainable():
    # A printed solution put LoRA on new, random layers, and counted these as well.
    new_layers = 12 * 4 * (768 * 768 + 768)
    lora = lora_parameters([*square(768, 4 * 12), (768, 50_257)], 8)
    assert new_layers + lora == 29_346_440


def test_counting_needs_no_memory():
    with torch.device("meta"):
        assert count_parameters(nn.Linear(100_000, 100_000, bias=False)) == 10**10


@pytest.mark.parametrize("sizes", [(0, 12), (768, 0), (-1, 12), (768, 12, 0)])
def test_a_gpt2_without_a_size_is_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        gpt2_parameters(*sizes)


@pytest.mark.parametrize(
    "rank, error", [(0, ValueError), (-1, ValueError), (5, ValueError), (2.0, TypeError)]
)
def test_numbers_of_an_impossible_rank_are_refused(rank, error):
    with pytest.raises(error, match=str(rank)):
        lora_parameters([(10, 10), (4, 12)], rank)
