"""What a model of the toy language is trained and judged on: registers, controls and the floor."""

import math

import pytest
import torch

from lora_lab.gpt2 import load_tokenizer
from lora_lab.story_gpt2.batches import (
    KINDS,
    floor_per_token,
    in_new_words,
    shuffle_labels,
    shuffle_words,
    story_data,
)
from lora_lab.story_gpt2.language import samples
from lora_lab.training import IGNORED


def texts(ids):
    return load_tokenizer().batch_decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("register", ["plain", "pirate", "questions"])
def test_a_register_gives_its_stories_and_held_out_gives_others(register, held_out):
    ids, labels = story_data(register, 5, held_out)
    assert texts(ids) == samples(register, 5, seed=1, held_out=held_out)[0]
    assert texts(ids) != texts(story_data(register, 5, not held_out)[0])
    seen = labels != IGNORED
    assert torch.equal(labels[seen], ids[seen])
    assert seen.any(dim=1).all() and (seen[:, 0] == (register != "questions")).all()


def test_a_control_is_made_of_pirate_stories_and_measured_on_them_unshuffled():
    pirate, held_out = story_data("pirate", 5), story_data("pirate", 5, held_out=True)
    for kind, shuffle in (("shuffled words", shuffle_words), ("shuffled labels", shuffle_labels)):
        shuffled = story_data(kind, 5)
        assert all(torch.equal(one, other) for one, other in zip(shuffled, shuffle(*pirate), strict=True))
        assert not torch.equal(shuffled[1], pirate[1])
        judged = story_data(kind, 5, held_out=True)
        assert all(torch.equal(one, other) for one, other in zip(judged, held_out, strict=True))


@pytest.mark.parametrize("held_out", [False, True])
def test_new_words_are_those_of_plain_stories_held_out_as_well(held_out):
    found, expected = story_data("new words", 5, held_out), in_new_words(*story_data("plain", 5, held_out))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"plain, pirate, .*shuffled labels, got 'shuffled'"):
        story_data("shuffled", 5)
    assert all(len(story_data(kind, 2)[0]) == 2 for kind in KINDS)


def test_shuffled_words_are_the_same_words_in_another_order():
    ids, labels = story_data("pirate", 20)
    new_ids, new_labels = shuffle_words(ids, labels)
    assert torch.equal(new_ids.sort(dim=1).values, ids.sort(dim=1).values)
    assert torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels[labels != IGNORED], new_ids[labels != IGNORED])
    assert (new_ids != ids).float().mean() > 0.5
    ends = (labels != IGNORED).sum(dim=1) - 1
    assert (new_ids[:, 0] == ids[:, 0]).all() and (new_ids[range(20), ends] == ids[range(20), ends]).all()


def test_shuffled_labels_are_those_of_the_story_and_the_story_stays():
    ids, labels = story_data("pirate", 20)
    new_ids, new_labels = shuffle_labels(ids, labels)
    assert torch.equal(new_ids, ids) and torch.equal(new_labels[:, 0], labels[:, 0])
    assert torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels.sort(dim=1).values, labels.sort(dim=1).values)
    assert (new_labels != labels).float().sum() > 0.8 * (labels != IGNORED).sum()


def test_new_words_are_one_to_one_and_other_words():
    ids, labels = story_data("plain", 50)
    new_ids, new_labels = in_new_words(ids, labels)
    end = load_tokenizer().eos_token_id
    assert torch.equal(new_ids == end, ids == end) and torch.equal(new_labels == IGNORED, labels == IGNORED)
    assert torch.equal(new_labels[labels != IGNORED], new_ids[labels != IGNORED])
    pairs = {*zip(ids.flatten().tolist(), new_ids.flatten().tolist(), strict=True)}
    assert len(pairs) == len(ids.unique()) == len(new_ids.unique())
    assert all(old != new for old, new in pairs if old != end)
    assert set(new_ids.unique().tolist()) <= set(story_data("plain", 1600)[0].unique().tolist())


def test_the_floor_is_the_surprise_of_held_out_stories_over_their_predicted_tokens():
    stories, nats = samples("pirate", 10, seed=1, held_out=True)
    tokens = sum(len(load_tokenizer()(story).input_ids) + 1 for story in stories)  # and the end of each
    assert math.isclose(floor_per_token("pirate", 10), sum(nats) / tokens)
    assert floor_per_token("questions", 10) == 0  # an answer follows from its story
