"""Training in a random subspace: a no-op at first, d numbers trained, and P what the docstring says."""

import pytest
import torch

from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import random_gpt2
from lora_lab.random_subspace import RandomSubspace
from lora_lab.training import fit

IDS = torch.randint(1, 100, (4, 9), generator=torch.Generator().manual_seed(0))
NAMES = ["transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_fc.weight"]


def subspace(d=7, seed=0):
    return RandomSubspace(random_gpt2(), NAMES, d, seed)


def changes(space):
    with torch.no_grad():
        return {name: W - space.model.get_parameter(name) for name, W in space.weights().items()}


def test_at_first_nothing_changes_and_then_it_does():
    space = subspace()
    with torch.no_grad():
        assert torch.equal(space(IDS).logits, random_gpt2()(IDS).logits)
        space.z.fill_(0.1)
        assert not torch.allclose(space(IDS).logits, random_gpt2()(IDS).logits, atol=1e-2)


def test_a_model_in_half_precision_stays_in_it():
    space = RandomSubspace(random_gpt2().bfloat16(), NAMES, 7)
    with torch.no_grad():
        space.z.fill_(0.1)
        assert space(IDS).logits.dtype == torch.bfloat16
    assert {W.dtype for W in space.weights().values()} == {torch.bfloat16}


def test_z_alone_is_trained_and_the_model_stays_bit_equal():
    space = subspace()
    assert count_trainable_parameters(space) == 7
    fit(space, IDS, IDS, 3, 1e-2, batch_size=2)
    assert (space.z != 0).all()
    for (name, before), after in zip(random_gpt2().named_parameters(), space.model.parameters(), strict=True):
        assert torch.equal(before, after), name


def test_each_place_gets_one_number_of_z_with_a_sign():
    space = subspace()
    with torch.no_grad():
        space.z.copy_(torch.arange(1.0, 8.0))
    found = torch.cat([change.flatten() for change in changes(space).values()])
    torch.testing.assert_close(found.abs().round(), found.abs(), atol=1e-5, rtol=0)
    counts = torch.stack([(found.round() == value).sum() for value in (*range(-7, 0), *range(1, 8))])
    assert counts.sum() == len(found)
    assert (counts / len(found) - 1 / 14).abs().max() < 0.01  # numbers and signs are equally frequent


def test_the_same_subspace_again_needs_the_same_seed():
    assert torch.equal(subspace().which, subspace().which) and torch.equal(subspace().sign, subspace().sign)
    assert not torch.equal(subspace().which, subspace(seed=1).which)


@pytest.mark.parametrize("d", [0, 10**9])
def test_a_dimension_that_is_impossible_is_refused_with_the_model_untouched(d):
    model = random_gpt2()
    with pytest.raises(ValueError, match=f"got {d}"):
        RandomSubspace(model, NAMES, d)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_from_one_direction_to_all_of_them():
    places = sum(random_gpt2().get_parameter(name).numel() for name in subspace().names)
    for d in (1, places):
        assert RandomSubspace(random_gpt2(), subspace().names, d).z.shape == (d,)


def test_the_update_is_added_with_its_sign():
    space = subspace()
    before = torch.cat([space.model.get_parameter(name).flatten() for name in space.names])
    torch.nn.init.normal_(space.z)
    after = torch.cat([W.flatten() for W in space.weights().values()])
    torch.testing.assert_close(after, before + space.sign * space.z[space.which])


def test_a_subspace_that_names_no_seed_is_that_of_seed_zero():
    names = subspace().names
    default = RandomSubspace(random_gpt2(), names, 7)
    assert torch.equal(default.which, RandomSubspace(random_gpt2(), names, 7, seed=0).which)
    assert not torch.equal(default.which, RandomSubspace(random_gpt2(), names, 7, seed=1).which)
