"""The labels of stories by the kind of word."""

import torch

from lora_lab.gpt2 import load_tokenizer
from lora_lab.story_gpt2.batches import story_data
from lora_lab.story_gpt2.language import FACTS, HE, SHE, samples, stories
from lora_lab.story_gpt2.parts import labels_by_part, labels_left, overlaps, pirate_words
from lora_lab.training import IGNORED

FIRST_TIME = ("first mentions", "later mentions", "other words")
SPEECH = ("pirate words", "common words")


def said(labels, row):
    """What the labels of a row say, as words."""
    kept = labels[row][labels[row] != IGNORED]
    return [load_tokenizer().decode(token).strip() for token in kept]


def test_each_predicted_token_has_its_label_in_one_part_of_each_kind():
    ids, parts = labels_by_part(20)
    wanted_ids, labels = story_data("plain", 20, held_out=True)
    assert torch.equal(ids, wanted_ids) and parts.keys() == {*FIRST_TIME, *SPEECH, "recalled words"}
    for names in (FIRST_TIME, SPEECH):
        counts = sum((parts[name] != IGNORED).int() for name in names)
        assert torch.equal(counts == 1, labels != IGNORED) and counts.max() == 1
        assert all(torch.equal(parts[n][parts[n] != IGNORED], labels[parts[n] != IGNORED]) for n in names)


def test_first_mentions_are_the_four_words_that_facts_are_about_and_later_ones_are_known():
    _, parts = labels_by_part(5)
    for row, story in enumerate(stories(5, seed=1, held_out=True)):
        first = "".join(said(parts["first mentions"], row))
        words = [word for kind, word, *_ in story.introduced if kind != "name"]
        assert first == "".join("".join(words).split()), story.plain
        later = "".join(said(parts["later mentions"], row))
        assert later == "".join("".join(word for _, word, *_ in story.mentions).split()), story.plain


def test_recalled_words_are_the_later_mentions_that_pirates_say_alike():
    _, parts = labels_by_part(20)
    later, common = (parts[name] != IGNORED for name in ("later mentions", "common words"))
    assert torch.equal(parts["recalled words"] != IGNORED, later & common) and (later & ~common).any()


def test_pirate_words_are_those_that_pirate_speech_changes():
    text = 'The fox said: "My kite!"'
    assert [text[start:end] for start, end in pirate_words(text)] == ["The", "said", "My", "!"]


def test_a_token_overlaps_a_span_if_they_share_a_letter():
    assert overlaps((3, 5), [(4, 9)]) and overlaps((3, 5), [(0, 1), (2, 4)])
    assert not overlaps((3, 5), [(5, 9)]) and not overlaps((3, 5), [(0, 3)]) and not overlaps((3, 5), [])


def test_labels_left_are_what_no_part_has():
    labels = torch.tensor([[1, 2, 3, IGNORED]])
    part = torch.tensor([[IGNORED, 2, IGNORED, IGNORED]])
    assert labels_left(labels, part).tolist() == [[1, IGNORED, 3, IGNORED]]
    assert labels.tolist() == [[1, 2, 3, IGNORED]]


def test_in_facts_the_name_fixes_the_rest():
    assert FACTS.keys() == {*HE, *SHE} and len({tuple(facts.values()) for facts in FACTS.values()}) == 16
    told = stories(50, seed=3, facts=FACTS)
    for story in told:
        introduced = {kind: word for kind, word, *_ in story.introduced}
        assert FACTS[introduced["name"]].items() <= introduced.items()
    texts, nats = samples("facts", 50, seed=3)
    assert texts == [story.plain for story in told] and nats == [story.nats for story in told]


def test_no_word_is_a_fact_of_more_than_two_names():
    for kind in ("animal", "colour", "object", "place"):
        words = [facts[kind] for facts in FACTS.values()]
        assert max(map(words.count, words)) <= 2
