"""What a training step must hold in memory, by formula and counted. Lesson 04 builds on this file.

Everything in float32, four bytes a number, and trained with Adam. Not counted: what lives only for a moment
inside one operation, and Adam's step counter, four bytes per weight matrix.
"""

import torch


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
    # Known by its address inside PyTorch: on the meta device, data_ptr() is 0 for every tensor.
    storages = {storage._cdata: storage for storage in (tensor.untyped_storage() for tensor in tensors)}
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
    model's own numbers and its inputs. Works on the meta device too. Zero if nothing is trainable.
    """
    given = [*model.parameters(), *model.buffers(), *inputs, *named_inputs.values()]
    known = {tensor.untyped_storage()._cdata for tensor in given if torch.is_tensor(tensor)}
    kept = []

    def remember(tensor):
        if tensor.untyped_storage()._cdata not in known:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        model(*inputs, **named_inputs)  # PyTorch calls remember with each tensor that it keeps
    return storage_bytes(kept)
