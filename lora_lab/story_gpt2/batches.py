"""What a model of the toy language is trained and judged on: (ids, labels) of its stories, in any register;
the controls that take something out of them; and the floor that no loss goes below.
"""

import torch

from lora_lab.gpt2 import load_tokenizer, on_device
from lora_lab.story_gpt2.language import REGISTERS, encode, samples
from lora_lab.training import IGNORED

KINDS = (*REGISTERS, "new words", "shuffled words", "shuffled labels")


def story_data(kind, n, held_out=False):
    """(ids, labels) of `n` stories, for `fit` and `evaluate`; those with `held_out` are never trained on.

    `kind` is a register ("plain", "pirate", or "questions", of which only the answer has labels), plain
    stories in "new words", or pirate stories with "shuffled words" or "shuffled labels": controls, whose
    held-out stories are not shuffled. They are on the model's device. ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    register = {"new words": "plain", "shuffled words": "pirate", "shuffled labels": "pirate"}.get(kind, kind)
    texts, _ = samples(register, n, seed=1, held_out=held_out)
    data = encoded(texts, answers_only=register == "questions")
    if kind == "new words":
        data = in_new_words(*data)
    elif kind == "shuffled words" and not held_out:
        data = shuffle_words(*data)
    elif kind == "shuffled labels" and not held_out:
        data = shuffle_labels(*data)
    return tuple(map(on_device, data))


def encode_texts(texts):
    """(ids, labels) of `texts` on the model's device; see `encoded`."""
    return tuple(map(on_device, encoded(texts)))


def encoded(texts, answers_only=False):
    """(ids, labels), both as wide as the longest of `texts` with its two ends; see `encode`."""
    tokenizer = load_tokenizer()
    length = max(map(len, tokenizer(texts)["input_ids"])) + 2
    return encode(tokenizer, texts, length, answers_only)


def shuffle_words(ids, labels):
    """The same tokens of each row in a drawn order, between the same two ends: no grammar is left."""
    generator = torch.Generator().manual_seed(0)
    ids, labels = ids.clone(), labels.clone()
    for row in range(len(ids)):
        inner = (labels[row] != IGNORED).sum().item() - 2
        order = 1 + torch.randperm(inner, generator=generator)
        ids[row, 1 : inner + 1] = labels[row, 1 : inner + 1] = ids[row, order]
    return ids, labels


def shuffle_labels(ids, labels):
    """The stories as they are; but what the model is to say after each token is drawn from the same story."""
    draw = torch.Generator().manual_seed(0)
    labels = labels.clone()
    for row in labels:
        inner = (row != IGNORED).sum().item() - 1  # the first has no loss
        row[1 : inner + 1] = row[1 + torch.randperm(inner, generator=draw)]
    return ids, labels


def in_new_words(ids, labels):
    """Each token of the plain stories replaced, everywhere, by another one of them; the end of text stays. A
    language of the same grammar and entropy, in which every word means something else.
    """
    tokens = encoded(samples("plain", 1600, seed=1)[0])[0].unique()
    tokens = tokens[tokens != load_tokenizer().eos_token_id]
    drawn = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))]
    table = torch.arange(len(load_tokenizer()))
    table[drawn] = drawn.roll(1)
    return table[ids], torch.where(labels == IGNORED, labels, table[labels.clamp(min=0)])


def floor_per_token(register, n=200, first=0):
    """The entropy of the held-out stories of `register` from number `first` up to `n`, in nats per predicted
    token: no model's loss is lower in the mean over all stories. Of "questions" it is 0: an answer, which
    alone has labels there, follows from its story.
    """
    if register == "questions":
        return 0.0
    _, nats = samples(register, n, seed=1, held_out=True)
    _, labels = story_data(register, n, held_out=True)
    return sum(nats[first:]) / (labels[first:, 1:] != IGNORED).sum().item()
