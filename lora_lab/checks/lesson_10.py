"""Checkers of lesson 10, fine-tuning."""

import math

import torch

from lora_lab.checks import attempt, checker
from lora_lab.gpt2 import load_gpt2, load_tokenizer
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
def check_accumulate(accumulate):
    """Exercise 10.2: the pieces' losses, each weighted by its share of the predicted tokens."""
    ids, labels = torch.arange(5 * 12).reshape(5, 12), torch.full((5, 12), IGNORED)
    for row, length in enumerate((12, 3, 7, 2, 5)):
        labels[row, :length] = ids[row, :length]
    whole, pieces, means, sums, last = (load_gpt2() for _ in range(5))
    loss = whole(ids, labels=labels).loss
    loss.backward()
    answer = attempt(accumulate, pieces, ids, labels, 2)
    for start in (0, 2, 4):
        rows = slice(start, start + 2)
        (means(ids[rows], labels=labels[rows]).loss / 3).backward()
        sums(ids[rows], labels=labels[rows]).loss.backward()
    last(ids[4:], labels=labels[4:]).loss.backward()
    if not gradients(pieces).any():
        return "the gradients are zero afterwards: is there a backward pass, and is nothing zeroed after it?"
    if agree(pieces, sums):
        return "each loss is a mean, and a sum of means is too large: what share has each piece in the whole?"
    if agree(pieces, means):
        return "a mean of means counts each piece alike, but they predict different numbers of tokens"
    if cosine(pieces, last) > 0.999:
        return "only the last piece is left: what zeroes the gradients of the others?"
    # Who weighs by all tokens, the first one, too, comes as near as 0.99997: another mistake.
    if not agree(pieces, whole) and cosine(pieces, whole) > 0.999995:
        return "the direction is right, and the size is not: what do the weights of the pieces add up to?"
    if not agree(pieces, whole):
        return (
            "these are not the gradients of one pass over all rows: weigh each piece by the tokens that it "
            f"predicts, without the first of a row and without those labelled {IGNORED}"
        )
    if not math.isclose(float(answer), loss.item(), rel_tol=1e-3):
        return f"the gradients are right; the loss is {loss.item():.3f}, and you return {float(answer):.3f}"


def gradients(model):
    """All gradients of `model` as one vector, zero where there is none."""
    found = (torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters())
    return torch.cat([gradient.flatten() for gradient in found])


def agree(one, other):
    """Whether two models have the same gradients, up to rounding."""
    return bool((gradients(one) - gradients(other)).norm() < 1e-3 * gradients(other).norm())


def cosine(one, other):
    """The cosine between the gradients of two models."""
    return torch.cosine_similarity(gradients(one), gradients(other), dim=0).item()


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
