"""An adapter of which any byte is cut off or flipped, and one that is none or is for another model: loaded
as it was saved, or refused in one sentence with the model untouched. CASES in test_bad_input.py counts them.

What single settings and tensors may be wrong is in test_adapters.py.
"""

import json
import pickle
import shutil
import struct

import pytest
import torch
from safetensors.torch import load, save
from test_adapters import with_updates
from test_bad_input import assert_a_sentence, count
from unchanged import assert_unchanged, everything

from lora_lab.adapters import load_adapter, save_adapter
from lora_lab.adapters.files import CONFIG, NOTE, WEIGHTS
from lora_lab.gpt2 import apply_lora_to_gpt2, lora_layers, random_gpt2

KEY = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"


def gpt2():
    return random_gpt2(n_layer=1, n_embd=8, n_positions=8, vocab_size=9)


def products(model):
    """What LoRA adds to [Q | K | V], whichever targets it was put on."""
    layers, parts = lora_layers(model), []
    for name in ("q", "k", "v", "c_attn"):
        if f"0.{name}" in layers:
            parts.append(layers[f"0.{name}"].scale * layers[f"0.{name}"].B @ layers[f"0.{name}"].A)
        elif name != "c_attn" and "0.c_attn" not in layers:
            parts.append(torch.zeros(8, 8))
    return torch.cat(parts)


class Tried:
    """Loads files into a bare model and into one with LoRA of another kind, both untouched by what fails."""

    def __init__(self, folder):
        self.folder = folder
        model = with_updates(apply_lora_to_gpt2(gpt2(), 1, 6, ("q", "v")))
        save_adapter(model, folder)
        self.weights, self.config = ((folder / name).read_bytes() for name in (WEIGHTS, CONFIG))
        self.expected = products(model).detach()
        self.models = [gpt2(), apply_lora_to_gpt2(gpt2(), 2, 3, ("fc", "k"))]
        self.before = [everything(model) for model in self.models]

    def refused(self, weights, config, *named, kind=ValueError):
        """Whether the files are refused, in one sentence. What is loaded computes what was saved."""
        (self.folder / WEIGHTS).write_bytes(weights)
        (self.folder / CONFIG).write_bytes(config)
        return self.folder_refused(*named, kind=kind)

    def folder_refused(self, *named, kind=ValueError):
        for model, before in zip(self.models, self.before, strict=True):
            try:
                load_adapter(model, self.folder)
            except kind as error:
                assert_a_sentence(str(error), *named)
                assert_unchanged(model, before)
            else:
                assert torch.allclose(products(model), self.expected, atol=0, rtol=1e-6)
                self.models = [gpt2(), apply_lora_to_gpt2(gpt2(), 2, 3, ("fc", "k"))]
                self.before = [everything(model) for model in self.models]
                return False
        return True


@pytest.fixture
def tried(tmp_path):
    return Tried(tmp_path)


def test_weights_cut_at_every_byte_are_refused(tried):
    for length in range(len(tried.weights)):
        assert tried.refused(tried.weights[:length], tried.config, f"{WEIGHTS} is damaged"), length
    count("cut weights", len(tried.weights))


def test_settings_cut_at_every_byte_are_refused(tried):
    for length in range(len(tried.config)):
        assert tried.refused(tried.weights, tried.config[:length], f"{CONFIG} is not JSON"), length
    count("cut settings", len(tried.config))


def test_every_flipped_byte_of_a_header_is_refused_or_changes_nothing(tried):
    start = 8 + struct.unpack("<Q", tried.weights[:8])[0]
    loaded = []
    for place in range(start):
        content = bytearray(tried.weights)
        content[place] ^= 1
        if not tried.refused(bytes(content), tried.config):
            loaded.append(place)
    note = tried.weights.index(NOTE.encode())
    assert {*loaded} <= {*range(note, note + len(NOTE))}  # without our note it is one of PEFT's
    count("flipped headers", start)


def with_header(change):
    """Let `change` work on the text of the header."""

    def changed(weights, config):
        end = 8 + struct.unpack("<Q", weights[:8])[0]
        header = change(weights[8:end].decode().rstrip()).encode()
        return struct.pack("<Q", len(header)) + header + weights[end:], config

    return changed


def with_tensors(change, note=None):
    """Let `change` make other tensors of those in the file; without a note, as PEFT writes it."""
    return lambda weights, config: (save(change(load(weights)), note), config)


def with_settings(**settings):
    return lambda weights, config: (weights, json.dumps({**json.loads(config), **settings}).encode())


def as_type(dtype):
    return with_tensors(lambda tensors: {key: tensor.to(dtype) for key, tensor in tensors.items()})


FOREIGN = {
    "settings nested without end": (
        lambda weights, config: (weights, b"[" * 100_000),
        f"{CONFIG} is not JSON",
    ),
    "objects nested without end": (lambda weights, config: (weights, b'{"r":' * 100_000), "is not JSON"),
    "a number of 5000 digits": (
        lambda weights, config: (weights, b'{"r": ' + b"9" * 5000 + b"}"),
        "not JSON",
    ),
    "the files exchanged": (lambda weights, config: (config, weights), "damaged or no safetensors file"),
    "a pickle by this name": (lambda weights, config: (pickle.dumps({KEY: 1}), config), "is damaged or no"),
    "a header without end": (lambda weights, config: (struct.pack("<Q", 2**62) + weights, config), "damaged"),
    "a header that is a list": (with_header(lambda text: "[" * 100_000), "is damaged or no safetensors"),
    "a key twice": (with_header(lambda text: text.replace("lora_B", "lora_A")), ""),
    "tensors over each other": (with_header(lambda text: text.replace("[64,", "[0,")), "is damaged"),
    "a note nested without end": (
        lambda weights, config: (save(load(weights), {NOTE: '{"layers":' + "[" * 300_000}), config),
        "the note in",
    ),
    "prefix tuning": (with_settings(peft_type="PREFIX_TUNING"), "'LORA', got 'PREFIX_TUNING'"),
    "a rank below 0": (with_settings(r=-2), "r must be a whole number from 1, got -2"),
    "a rank that is none": (with_settings(r=float("nan")), "r must be a whole number from 1, got nan"),
    "a rank of 10^9": (with_settings(r=10**9), "not from one save"),
    "an alpha of 10^299": (with_settings(lora_alpha=1e299), "not from one save"),
    "a dropout that is none": (with_settings(lora_dropout=float("nan")), "from 0 to 1, got nan"),
    "layers of another model": (with_settings(target_modules=["q_proj", "v_proj"]), "has 'q_proj', but"),
    "tensors of another model": (
        with_tensors(lambda tensors: {key.replace("c_attn", "q_proj"): t for key, t in tensors.items()}),
        f"{WEIGHTS} has no {KEY}",
    ),
    "all transposed": (
        with_tensors(lambda tensors: {key: t.T.contiguous() for key, t in tensors.items()}),
        "made for a GPT-2 of 1 layers and width",
    ),
    "bytes": (as_type(torch.int8), "must be (2, 8) of floats for r = 2, got (2, 8) of torch.int8"),
    "complex numbers": (as_type(torch.complex64), "of floats for r = 2, got (2, 8) of torch.complex64"),
    "truth values": (as_type(torch.bool), "of floats for r = 2, got (2, 8) of torch.bool"),
    "all NaN": (with_tensors(lambda tensors: {key: t / 0 * 0 for key, t in tensors.items()}), "holds a NaN"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_adapter_for_this_model_is_refused(name, tried):
    change, message = FOREIGN[name]
    assert tried.refused(*change(tried.weights, tried.config), message)
    count("foreign adapters", len(FOREIGN))


def test_a_pickle_is_never_opened(tried):
    class Harm:
        def __reduce__(self):
            return (tried.folder.joinpath("harm").touch, ())

    for name in ("adapter_model.bin", "pytorch_model.bin"):
        (tried.folder / name).write_bytes(pickle.dumps(Harm()))
    (tried.folder / WEIGHTS).unlink()
    assert tried.folder_refused(f"there is no {WEIGHTS} in", kind=FileNotFoundError)
    assert tried.refused(pickle.dumps(Harm()), tried.config, "is damaged or no safetensors file")
    assert not (tried.folder / "harm").exists()
    pickle.loads(pickle.dumps(Harm()))
    assert (tried.folder / "harm").exists()


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_folder_in_the_place_of_a_file_is_refused(name, tried):
    (tried.folder / name).unlink()
    (tried.folder / name).mkdir()
    assert tried.folder_refused(f"there is no {name} in", kind=FileNotFoundError)
    shutil.rmtree(tried.folder / name)
