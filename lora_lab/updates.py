"""What training changed in the dense weights of a GPT-2, and models with such a change: for lesson 09.

`updates` is a dict from "0.q", "0.k", ... (see `dense_weights`) to delta_W = W - W_0, arrays (out, in).
"""

import torch

from lora_lab.gpt2 import dense_weights, load_gpt2
from lora_lab.low_rank import low_rank_approximation


def dense_names(model):
    """The names of the parameters of `model` that `dense_weights` shows."""
    return [name for name, p in model.named_parameters() if ".h." in name and p.ndim == 2]


def train_only_dense(model):
    """Let the dense weights of the blocks ask for a gradient, and nothing else: what LoRA on all linear
    layers adapts. `model` is changed in place and returned.
    """
    model.requires_grad_(False)
    for name in dense_names(model):
        model.get_parameter(name).requires_grad_(True)
    return model


def weight_updates(model):
    """What training changed in each dense weight of the pretrained model, which has become `model`."""
    start = dense_weights(load_gpt2())
    return {name: (W - start[name]).detach().numpy() for name, W in dense_weights(model).items()}


@torch.no_grad()
def with_updates(updates):
    """A fresh pretrained model with `updates` added to its dense weights."""
    model = load_gpt2()
    for name, W in dense_weights(model).items():
        W += torch.as_tensor(updates[name])
    return model


def truncated(updates, rank):
    """Each of `updates` replaced by its best approximation of rank `rank`."""
    return {name: low_rank_approximation(update, rank) for name, update in updates.items()}
