"""The shipped model: its files load with transformers alone, and its card tells the truth about it."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2LMHeadModel

from lora_lab.story_gpt2.language import PIRATE, samples, stories, to_pirate
from lora_lab.story_gpt2.pretraining import (
    CHANCE,
    CORPUS,
    FOLDER,
    HELD_OUT,
    PIRATE_WORDS,
    SAILORS,
    SEED,
    SIZE,
    corpus,
    held_out_losses,
    new_model,
    probe,
    train_tokenizer,
)

CARD = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def model():
    model = GPT2LMHeadModel.from_pretrained(FOLDER)
    model.loss_type = "ForCausalLM"
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def found(model, tokenizer):
    return probe(model, tokenizer, stories(HELD_OUT, SEED, held_out=True))


@pytest.fixture(scope="module")
def texts():
    return corpus(CORPUS)


@pytest.fixture(scope="module")
def losses(model, tokenizer):
    return held_out_losses(model, tokenizer)


def card_row(name):
    """The numbers of the row of the card that begins with `name`."""
    (row,) = re.findall(rf"^\| {name}[^|]*\|(.*)\|$", CARD, re.MULTILINE)
    return [float(number) for number in row.split("|")]


def test_transformers_alone_loads_it_and_tells_a_story(tmp_path):
    code = f"""
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel
tokenizer = AutoTokenizer.from_pretrained({str(FOLDER)!r})
model = GPT2LMHeadModel.from_pretrained({str(FOLDER)!r})
assert tokenizer.is_fast and type(AutoModelForCausalLM.from_pretrained({str(FOLDER)!r})) is GPT2LMHeadModel
start = tokenizer("<|endoftext|>This is the story of a child called Nora.", return_tensors="pt")
print(tokenizer.decode(model.generate(**start, max_new_tokens=120)[0], skip_special_tokens=True))
assert not any(name.startswith("lora_lab") for name in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    story = run.stdout.strip()
    assert story.count("Nora") >= 2 and re.search(r"\b(she|her)\b", story, re.IGNORECASE)
    assert not re.search(r"\b(he|him|his)\b", story, re.IGNORECASE)
    assert story[-1] in '.!"' and len(story.split()) > 50


def test_the_files_are_those_of_a_hugging_face_folder_and_small():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert sizes["model.safetensors"] < 8e6 and sum(sizes.values()) < 10e6


def test_the_configuration_is_the_one_that_training_uses():
    config = json.loads((FOLDER / "config.json").read_text())
    wanted = {**SIZE, "initializer_range": 0.08, "activation_function": "gelu_pytorch_tanh"}
    wanted |= {"loss_type": "ForCausalLM", "attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0}
    assert {key: config[key] for key in wanted} == wanted


def test_the_weights_are_float32_finite_and_trained(model):
    weights = load_file(FOLDER / "model.safetensors")
    assert "lm_head.weight" not in weights  # tied to wte
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights.values())
    state = model.state_dict()
    assert set(state) - set(weights) == {"lm_head.weight"}
    fresh = new_model(model.config.vocab_size).state_dict()
    assert all(not torch.equal(weight, fresh[name]) for name, weight in weights.items())


def test_the_tokenizer_is_the_one_that_training_makes(tokenizer, texts):
    assert train_tokenizer(texts).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("text", [*samples("pirate", 1, 0)[0], "Ärger & 42 %\n\n  naïve 狐"])
def test_any_text_survives_the_tokenizer(text, tokenizer):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_base_has_seen_every_token_of_every_register_often(tokenizer, texts):
    """A token never seen would have a random embedding, which LoRA leaves frozen."""
    seen = Counter(i for ids in tokenizer(texts)["input_ids"] for i in ids)
    for register in ("pirate", "questions"):
        needed = {i for ids in tokenizer(samples(register, 2000, 0)[0])["input_ids"] for i in ids}
        rare = {tokenizer.decode(i): seen[i] for i in needed if seen[i] < 20}
        assert not rare, register


def test_the_base_has_seen_neither_a_pirate_story_nor_a_question(texts):
    """It has met pirate words, a few in a story, so that no story is one that a pirate would tell."""

    spoken_by_pirates = set(PIRATE.values())

    def pirate_words(text):
        return sum(word.lower() in spoken_by_pirates for word in re.findall(r"\w+|, arr!", text))

    assert not any(re.search(r"Answer: \w+$", text) for text in texts)
    spoken = [pirate_words(text) for text in texts]
    sailors = [(n, pirate_words(to_pirate(text))) for n, text in zip(spoken, texts, strict=True) if n]
    assert len(sailors) == pytest.approx(SAILORS * CORPUS, rel=0.02)
    assert sum(n for n, _ in sailors) / sum(m for _, m in sailors) == pytest.approx(PIRATE_WORDS, abs=0.01)
    assert all(n < 0.75 * m for n, m in sailors)


def test_the_held_out_losses_of_the_card_are_those_of_the_file(losses):
    loss, story_loss, floor, story_floor = losses
    assert card_row("this model") == [pytest.approx(loss, abs=2e-4), pytest.approx(story_loss, abs=2e-2)]
    assert card_row("floor") == [pytest.approx(floor, abs=1e-4), pytest.approx(story_floor, abs=1e-2)]


def test_the_model_is_near_the_floor_and_not_below_it(losses):
    loss, _, floor, _ = losses
    assert floor < loss < 1.1 * floor


@pytest.mark.parametrize("kind", CHANCE)
def test_it_remembers_every_kind_of_word(kind, found):
    """A model that does not is off by so little in its mean loss that the floor alone would not tell."""
    assert found[kind] < CHANCE[kind] / 4
    assert card_row(kind) == [pytest.approx(found[kind], abs=2e-4), pytest.approx(CHANCE[kind], abs=1e-4)]


def test_the_probe_tells_a_model_that_does_not_remember(tokenizer):
    forgetful = probe(new_model(len(tokenizer)), tokenizer, stories(20, SEED, held_out=True))
    assert all(forgetful[kind] > CHANCE[kind] for kind in CHANCE)


def test_the_card_counts_the_parameters_and_names_a_licence(model):
    assert f"{model.num_parameters():,} parameters" in CARD and "license: mit" in CARD
