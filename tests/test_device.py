"""A model, what is trained of it, and its texts are all on the device that is asked for. Here torch's "meta"
device stands for a GPU: its tensors have no numbers, but every machine has it.
"""

import numpy as np
import pytest
import torch

from lora_lab import gpt2
from lora_lab.gpt2 import dense_weights, load_gpt2
from lora_lab.runs.methods import METHODS, OTHERS, make_trainable
from lora_lab.spectra import with_updates
from lora_lab.story_gpt2.batches import KINDS, story_data
from lora_lab.training import evaluate, fit


@pytest.fixture
def elsewhere(monkeypatch):
    """Everything is on another device. A number asked for there is 1, an answer is yes."""
    item = torch.Tensor.item
    monkeypatch.setattr(gpt2, "DEVICE", "meta")
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 1 if self.is_meta else item(self))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: True if self.is_meta else bool(self.item()))


def test_the_device_is_the_cpu_unless_the_environment_names_another():
    assert gpt2.DEVICE == "cpu" == load_gpt2().device.type


@pytest.mark.parametrize("name", ["cuda:9", "a GPU"])
def test_a_device_that_torch_has_not_is_refused_in_one_sentence(name, monkeypatch):
    monkeypatch.setattr(gpt2, "DEVICE", name)
    with pytest.raises(ValueError, match=f"LORA_LAB_DEVICE is '{name}', which torch cannot use here"):
        load_gpt2()


@pytest.mark.parametrize("method", [*METHODS, *OTHERS])
def test_every_way_trains_where_the_model_is(method, elsewhere):
    model = make_trainable(load_gpt2(), method)
    ids, labels = story_data("pirate", 4)
    assert {tensor.device.type for tensor in (ids, labels, *model.parameters(), *model.buffers())} == {"meta"}
    fit(model, ids, labels, steps=1, rate=1e-3, batch_size=2)
    evaluate(model, ids, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_stories_of_every_kind_are_where_the_model_is(kind, elsewhere):
    assert [part.device.type for part in story_data(kind, 2)] == ["meta", "meta"]


def test_updates_from_a_file_are_added_where_the_model_is(elsewhere):
    updates = {name: np.zeros(W.shape, np.float32) for name, W in dense_weights(load_gpt2()).items()}
    assert with_updates(updates).device.type == "meta"
