"""One training loop, a page long. Nothing here knows LoRA: it trains what asks for a gradient.

A batch is a pair (ids, labels) of whole-number tensors (n, t): token ids, and the same ids with IGNORED where
no loss is wanted (padding, or a question whose answer alone is to be learned).
"""

import math
import os

import torch

IGNORED = -100  # the label that transformers leaves out of its loss


def fit(model, ids, labels, steps, rate, batch_size=16, warmup=0, weight_decay=0.0, held_out=None, every=25,
        seed=0, progress=False):  # fmt: skip
    """Train `model` for `steps` steps of AdamW and return the history, a list of dicts, one per evaluation.

    `model(ids, labels=labels).loss` must be the loss to minimise. Batches of `batch_size` rows are drawn with
    `seed`; each pass over the data (an epoch) is shuffled anew. The rate rises from 0 to `rate` over `warmup`
    steps and then stays. With `held_out`, another pair (ids, labels), its loss is measured every `every`
    steps and at the end: {"step", "loss" (the mean since the last entry), "held_out"}. `progress` shows a
    bar, which leaves no trace. ValueError if nothing is trainable or an argument is impossible;
    FloatingPointError, naming the step, if the loss is no longer finite; KeyboardInterrupt, naming it too, if
    it is interrupted. However training ends, the model is in eval mode.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(
            "no parameter of this model asks for a gradient: everything is frozen, nothing can be learned"
        )
    if len(labels) != len(ids):
        raise ValueError(f"each row of ids needs its row of labels, got {len(ids)} and {len(labels)}")
    if min(steps, every) < 1 or rate <= 0 or not 1 <= batch_size <= len(ids):
        raise ValueError(
            f"steps, every and rate must be positive and batch_size from 1 to {len(ids)}, got {steps}, "
            f"{every}, {rate} and {batch_size}"
        )
    torch.manual_seed(seed)  # for dropout
    device = trainable[0].device
    optimizer = torch.optim.AdamW(trainable, lr=rate, weight_decay=weight_decay)
    batches = shuffled_batches(len(ids), batch_size, seed)
    history, recent, step = [], [], 0
    try:
        for step in progress_bar(steps, progress):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, step / max(1, warmup))
            model.train()
            rows = next(batches)
            loss = model(ids[rows].to(device), labels=labels[rows].to(device)).loss
            if not torch.isfinite(loss):
                advice = f"try a rate well below {rate:g}, or a warm-up"
                if (labels[rows][:, 1:] == IGNORED).all():  # no token predicts the first
                    advice = "its batch has no labels"
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}: {advice}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recent.append(loss.item())
            if step == steps or (held_out is not None and step % every == 0):
                entry = {"step": step, "loss": sum(recent) / len(recent)}
                if held_out is not None:
                    entry["held_out"] = evaluate(model, *held_out)
                history.append(entry)
                recent = []
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"training was stopped in step {step} of {steps}; the model keeps what it has learned until there"
        ) from None
    finally:
        model.eval()
    return history


@torch.no_grad()
def evaluate(model, ids, labels, batch_size=64):
    """Mean loss per predicted token, in nats, over all rows of `ids` (n, t), without training. The model is
    left in eval mode.
    """
    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(ids), batch_size):
        rows = slice(start, start + batch_size)
        batch, wanted = ids[rows].to(device), labels[rows].to(device)
        predicted = (wanted[:, 1:] != IGNORED).sum().item()  # the next token: the first has no loss
        if predicted:  # the mean of no losses is not a number
            total += model(batch, labels=wanted).loss.item() * predicted
            count += predicted
    return total / count if count else math.nan


def shuffled_batches(n, batch_size, seed):
    """Full batches of rows, without end: each pass in a new order, what fills no batch left out."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from (order[i : i + batch_size] for i in range(0, n - batch_size + 1, batch_size))


def progress_bar(steps, show):
    """The numbers 1 to `steps`, with a bar if `show` is true. When it is done it is gone: a notebook's cell
    is cleared, so that the bar is not saved with it. TQDM_DISABLE=1 in the environment hides it.
    """
    if not show or os.environ.get("TQDM_DISABLE"):
        yield from range(1, steps + 1)
        return
    from tqdm.auto import tqdm

    bar = tqdm(range(1, steps + 1), leave=False)
    try:
        yield from bar
    finally:
        bar.close()
    if hasattr(bar, "container"):  # a bar of a notebook
        from IPython.display import clear_output

        clear_output()
