"""The labels of stories taken apart by the kind of word: has a model forgotten, or only switched?

A model that learns pirate speech pays more for `the` in a plain story, since it would now say `ye`: that is
switching, and what it was trained for. If it pays more where a word is mentioned again, it has forgotten how
to remember. `evaluate(model, ids, parts[name])` is the loss of one kind of word.
"""

import re

import torch

from lora_lab.gpt2 import load_tokenizer
from lora_lab.story_gpt2.batches import story_data
from lora_lab.story_gpt2.language import PIRATE, stories
from lora_lab.training import IGNORED


def labels_by_part(n):
    """(ids, {part: labels}) of `n` held-out plain stories, taken apart twice. Each predicted token has its
    label in one of "first mentions" (of an animal, a colour, an object or a place: what "facts" contradict),
    "later mentions" (of them, of the name, and pronouns: recall, which nothing contradicts) and "other
    words"; and in one of "pirate words" (those that have a pirate form) and "common words". Later mentions
    that are common words are also "recalled words": recall that pirate speech does not contradict.
    """
    ids, labels = story_data("plain", n, held_out=True)
    told = stories(n, seed=1, held_out=True)
    coded = load_tokenizer()([story.plain for story in told], return_offsets_mapping=True)["offset_mapping"]
    parts = {
        "first mentions": lambda story: [span[2:] for span in story.introduced if span[0] != "name"],
        "later mentions": lambda story: [span[2:] for span in story.mentions],
        "pirate words": lambda story: pirate_words(story.plain),
    }
    found = {name: torch.full_like(labels, IGNORED) for name in parts}
    for row, story in enumerate(told):
        for name, spans_of in parts.items():
            spans = spans_of(story)
            for place, token in enumerate(coded[row], start=1):  # before it stands the end of the last text
                if overlaps(token, spans):
                    found[name][row, place] = labels[row, place]
    found["other words"] = labels_left(labels, found["first mentions"], found["later mentions"])
    found["common words"] = labels_left(labels, found["pirate words"])
    found["recalled words"] = labels_left(found["later mentions"], found["pirate words"])
    return ids, found


def pirate_words(text):
    """(start, end) of each word or sign of `text` that pirate speech changes."""
    return [match.span() for match in re.finditer(r"\w+|!", text) if match[0].lower() in PIRATE]


def overlaps(token, spans):
    """Whether a token, (start, end) in its text, has a letter in one of `spans`."""
    return any(token[0] < end and token[1] > start for start, end in spans)


def labels_left(labels, *parts):
    """`labels` where no part of them has its label."""
    rest = labels.clone()
    for part in parts:
        rest[part != IGNORED] = IGNORED
    return rest
