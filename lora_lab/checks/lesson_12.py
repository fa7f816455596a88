"""Checkers of lesson 12, choosing."""

import math

from lora_lab.checks import attempt, checker


@checker
def check_same_run(same_run):
    """Exercise 12.1: law 1, with c = alpha / new_alpha."""
    answer = attempt(same_run, 16, 64, 0.01)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return f"two numbers are wanted, (A_factor, new_rate), you return {answer!r}"
    A_factor, rate = map(float, answer)

    def is_(wanted_factor, wanted_rate):
        return math.isclose(A_factor, wanted_factor) and math.isclose(rate, wanted_rate)

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
    if not all(map(math.isclose, same_run(9, 1, 0.002), (3, 0.006))):
        return "from 16 to 64 it is right; try from 9 to 1, where A and the rate become three times as large"


@checker
def check_equal_budget(equal_budget_rank):
    """Exercise 12.2: budget // (2 d for each of q, k, v, o, and 5 d for each of fc, proj)."""
    answer = attempt(equal_budget_rank, ("fc",), 64, 1000)
    if answer == 1000 // 128:
        return "fc is not square: it leads from d to 4 d numbers"
    if answer == 0:
        return "A and B hold r (in + out) numbers, not r (in x out): they are added"
    if answer != 3:
        return f"fc with d = 64 has 320 numbers for each rank, so 1,000 are enough for 3, yours is {answer!r}"
    for targets, wanted in ((("o", "proj"), 4), (("q", "v"), 8), (("q", "fc", "proj"), 2)):
        answer = equal_budget_rank(targets, 64, 2100)
        if answer == wanted + 1 or (answer != wanted and isinstance(answer, float) and answer > wanted):
            return "a rank is a whole number, and with the next one the budget would be exceeded"
        if answer != wanted:
            return f"{', '.join(targets)}, d = 64, 2,100 numbers: rank {wanted} fits, yours is {answer!r}"


@checker
def check_sweep_verdict(sweep_verdict):
    """Exercise 12.3: where the best rate lies among those tried."""
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
