"""Checkers of lesson 12, choosing."""

import functools
import math

from lora_lab.checks import attempt, checker


@checker
def check_rslora_alpha(rslora_alpha):
    """Exercise 12.1: alpha sqrt(rank), for then alpha / rank is alpha / sqrt(rank)."""
    answer = attempt(rslora_alpha, 16, 64)
    for wrong, hint in (
        (2, "that is rsLoRA's scale itself; your library will divide by the rank once more"),
        (0.25, "that is the scale without rsLoRA; which alpha makes it alpha / sqrt(r)?"),
        (16, "with the same alpha the scale stays alpha / r"),
        (
            1024,
            "divided by the rank, alpha times rank is alpha: such a scale does not fall with the rank at all",
        ),
    ):
        if answer == wrong:
            return hint
    if not math.isclose(answer, 128):
        return f"for alpha 16 at rank 64 rsLoRA's scale is 2, so alpha / 64 must be 2; yours is {answer!r}"
    if not math.isclose(rslora_alpha(8, 4), 16):
        return "from alpha 16 at rank 64 it is right; try alpha 8 at rank 4, where it is 16"


@checker
def check_sweep_verdict(sweep_verdict):
    """Exercise 12.2: where the best rate lies among those tried."""
    nan = math.nan
    for rates, losses, wanted, hint in (
        ([1e-3, 2e-3, 5e-3], [0.4, 0.3, 0.35], "finished", "the best rate has a worse one on both sides"),
        ([1e-3, 2e-3, 5e-3], [0.4, 0.35, 0.3], "larger", "the best rate is the largest that was tried"),
        ([1e-3, 2e-3, 5e-3], [0.3, 0.35, 0.4], "smaller", "the best rate is the smallest that was tried"),
        ([5e-3, 1e-3, 2e-3], [0.35, 0.4, 0.3], "finished", "rates need not come in order"),
        ([5e-3, 1e-3, 2e-3], [0.3, 0.4, 0.35], "larger", "rates need not come in order"),
        ([1e-3, 2e-3, 5e-3], [0.4, 0.3, nan], "finished", "a run that ended in NaN is worse than any other"),
        ([5e-3, 2e-3, 1e-3], [nan, 0.3, 0.4], "finished", "min cannot compare a NaN"),
        ([5e-3, 2e-3, 1e-3], [nan, 0.4, 0.3], "smaller", "the best rate is the smallest that was tried"),
    ):  # fmt: skip
        answer = attempt(sweep_verdict, rates, losses)
        if answer not in ("smaller", "larger", "finished"):
            return f"the answer is 'smaller', 'larger' or 'finished', yours is {answer!r}"
        if answer != wanted:
            return f"for the rates {rates} with the losses {losses} you say {answer!r}: {hint}"


@checker
def check_same_run(same_run):
    """Exercise 12.3: law 1, with c = alpha / new_alpha."""
    answer = attempt(same_run, 16, 64, 0.01)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return f"two numbers are wanted, (A_factor, new_rate), you return {answer!r}"
    A_factor, rate = map(float, answer)
    close = functools.partial(math.isclose, rel_tol=1e-5)  # it may have been computed in float32

    def is_(wanted_factor, wanted_rate):
        return close(A_factor, wanted_factor) and close(rate, wanted_rate)

    for wrong, hint in (
        ((2, 0.02), "is it the other way round? A larger alpha must be made up for by smaller numbers"),
        ((4, 0.04), "is it the other way round? And both A and B are in the update, so each takes a root"),
        ((0.25, 0.0025), "both A and B grow with their rates: together that is the square of what you want"),
        ((1, 0.005), "A must start differently, too: otherwise its steps are small beside its start"),
        ((1, 0.0025), "this suits B, but A learns with the same rate: law 1 changes its start as well"),
        ((0.5, 0.01), "the rate must change by the same factor as the start of A"),
    ):
        if is_(*wrong):
            return hint
    if not is_(0.5, 0.005):
        return f"from alpha 16 to 64 at the rate 0.01 it is 0.5 and 0.005, yours is {A_factor:g} and {rate:g}"
    if not all(map(close, same_run(9, 1, 0.002), (3, 0.006))):
        return "from 16 to 64 it is right; try from 9 to 1, where A and the rate become three times as large"
