"""What a training step must hold in memory, by formula and counted. Lesson 04 builds on this file.

Everything in float32, four bytes a number, and trained with Adam. Not counted: what lives only for a moment
inside one operation, and Adam's step counter, four bytes per weight matrix.
"""

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef


def step_bytes(trainable, frozen=0):
    """Bytes of weights, gradients and moments for so many `trainable` and `frozen` numbers, before
    activations: 4 (trainable + frozen), 4 trainable, 8 trainable. Adam keeps two moments (Kingma & Ba, 2014,
    algorithm 1). ValueError for a negative count.
    """
    if min(trainable, frozen) < 0:
        raise ValueError(f"trainable and frozen must be at least 0, got {trainable} and {frozen}")
    return {
        "weights": 4 * (trainable + frozen),
        "gradients": 4 * trainable,
        "moments": 8 * trainable,
    }


def storage_bytes(tensors):
    """Bytes of memory behind `tensors`; memory that several of them share is counted once."""
    # A StorageWeakRef knows memory again: on the meta device, data_ptr() is 0 for every tensor.
    storages = {StorageWeakRef(storage): storage for storage in (t.untyped_storage() for t in tensors)}
    return sum(storage.nbytes() for storage in storages.values())


def held_bytes(model, optimizer):
    """The same three as `step_bytes`, counted from the tensors that `model` and its `optimizer` hold after a
    step. Moments are all that the optimizer remembers besides the number of its steps.
    """
    parameters = list(model.parameters())
    remembered = [item for state in optimizer.state.values() for item in state.items()]
    return {
        "weights": storage_bytes(parameters),
        "gradients": storage_bytes(p.grad for p in parameters if p.grad is not None),
        "moments": storage_bytes(x for name, x in remembered if name != "step" and torch.is_tensor(x)),
    }


def activation_bytes(model, *inputs, **named_inputs):
    """Bytes that the forward pass `model(*inputs, **named_inputs)` keeps for the backward pass, besides the
    model's own numbers and its inputs. `model` may be a function of tensors, too. Works on the meta device.
    Zero if nothing asks for a gradient.
    """
    given = [*inputs, *named_inputs.values()]
    if isinstance(model, nn.Module):
        given += [*model.parameters(), *model.buffers()]
    known = {StorageWeakRef(tensor.untyped_storage()) for tensor in given if torch.is_tensor(tensor)}
    kept = []

    def remember(tensor):
        if StorageWeakRef(tensor.untyped_storage()) not in known:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        model(*inputs, **named_inputs)  # PyTorch calls remember with each tensor that it keeps
    return storage_bytes(kept)


def model_bytes(model):
    """Bytes of all parameters and buffers of `model` that a file of it would hold; a tied weight once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
