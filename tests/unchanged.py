"""Is a model what it was? For tests of what must not touch it."""

import torch


def everything(model):
    """All that may not change: modules and parameters themselves, values, what is trainable, attributes."""
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    values = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    return modules, parameters, values, trainable, set(vars(model))


def assert_unchanged(model, before):
    modules, parameters, values, trainable, attributes = before
    now = everything(model)
    assert now[0].keys() == modules.keys() and all(now[0][name] is modules[name] for name in modules)
    assert now[1].keys() == parameters.keys() and all(now[1][name] is parameters[name] for name in parameters)
    assert all(torch.equal(now[2][name], values[name]) for name in values)
    assert now[3] == trainable
    assert now[4] == attributes
