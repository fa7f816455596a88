"""Checkers of lesson 10, fine-tuning."""

import math

import torch

from lora_lab.checks import attempt, checker
from lora_lab.gpt2 import load_tokenizer
from lora_lab.story_gpt2.language import samples
from lora_lab.training import IGNORED


@checker
def check_perplexity(perplexity):
    """Exercise 10.1: exp of the mean loss."""
    losses = [0.0, math.log(16)]
    answer = float(attempt(perplexity, losses))
    if math.isclose(answer, 8.5, rel_tol=1e-3):
        return "this is the mean of the exponentials: take the mean of the losses first"
    if math.isclose(answer, 16, rel_tol=1e-3):
        return "a text of twice the length would be more than twice as perplexing: the mean, not the sum"
    if math.isclose(answer, math.log(4), rel_tol=1e-3):
        return "this is the mean loss, the cross-entropy: the perplexity is e to its power"
    if math.isclose(answer, 2 ** math.log(4), rel_tol=1e-3):
        return "the losses are in nats, natural logarithms: which number to their power undoes them?"
    if not math.isclose(answer, 4, rel_tol=1e-3):
        return f"the losses 0 and ln 16 have the perplexity 4, yours is {answer:.4g}"
    answer = float(perplexity([math.log(3)] * 5))
    if not math.isclose(answer, 3, rel_tol=1e-3):
        return f"five tokens of probability 1/3 have the perplexity 3, yours is {answer:.4g}"


@checker
def check_training_bytes(training_bytes):
    """Exercise 10.2: 4 total + 12 trainable."""
    answer = attempt(training_bytes, 1000, 10)
    if answer in (160, 120):
        return "the frozen weights are in memory, too"
    if answer == 4120 - 40:
        return "Adam has two running means for each trained number, and there is its gradient"
    if answer in (4160, 16_000, 16_120):
        return "each weight counts once with 4 bytes, and only the trained ones need more than that"
    if answer == 1030:
        return "these are numbers: each has four bytes"
    if answer != 4120:
        return f"1,000 numbers of which 10 are trained need 4,120 bytes, yours is {answer!r}"
    if training_bytes(1000, 1000) != 16_000:
        return "when all 1,000 numbers are trained it is 16,000 bytes"


@checker
def check_prepare(prepare):
    """Exercise 10.3: each text between two ends, labels unshifted, padding ignored."""
    tokenizer = load_tokenizer()
    end = tokenizer.eos_token_id
    texts = sorted(samples("plain", 4, seed=83)[0], key=len)
    ids, labels = attempt(prepare, texts)
    if ids.shape != labels.shape or ids.ndim != 2 or len(ids) != 4:
        return (
            f"four texts need ids and labels of one shape (4, t), yours are {tuple(ids.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if ids.dtype != torch.int64 or labels.dtype != torch.int64:
        return "ids and labels must be whole numbers (torch.int64)"
    for row, text in enumerate(texts):
        tokens = torch.tensor([end, *tokenizer(text).input_ids, end])
        n = len(tokens)
        if ids.shape[1] < n or not torch.equal(ids[row, :n], tokens):
            return "each text must stand whole between two end-of-text tokens, and the padding behind it"
        if torch.equal(labels[row, : n - 1], tokens[1:]):
            return "the labels are shifted by one, and the model shifts them once more"
        if labels[row, n - 1] == IGNORED:
            return "the end of the story must be learned, too: the model would never stop"
        if not torch.equal(labels[row, 1:n], tokens[1:]):
            return "the label of every token of the text must be the token itself"
        if (labels[row, n:] != IGNORED).any():
            return f"the padding still counts: its label must be {IGNORED}, which the loss leaves out"
