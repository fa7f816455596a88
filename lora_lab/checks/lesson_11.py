"""Checkers of lesson 11, why low rank works."""

import math

import numpy as np

from lora_lab.checks import attempt, checker


@checker
def check_intrinsic_dimension(intrinsic_dimension):
    """Exercise 11.1: the smallest d that goes 90 % of the way from the base to full fine-tuning."""
    losses = {1000: 1.05, 10: 2.5, 100: 1.3, 10_000: 1.01}  # 95, 25, 85 and 99 % of the way from 3 to 1
    answer = attempt(intrinsic_dimension, losses, 3.0, 1.0)
    if isinstance(answer, float) and not answer.is_integer():
        return f"a number of dimensions is wanted, one of those that were tried, yours is {answer:.3g}"
    if answer == 10_000:
        return "this is the best of them: which is the smallest that is good enough?"
    if answer in (10, 100):
        return f"d = {answer} goes {(3 - losses[answer]) / 2:.0%} of the way from 3 to 1: not yet 90 %"
    if answer != 1000:
        return f"losses {losses}, base 3 and full 1: d = 1000 goes 95 % of the way, yours says {answer!r}"
    if intrinsic_dimension({4: 0.9, 8: 0.5, 16: 0.45}, 1.0, 0.4) != 16:
        return "from a base of 1.0 to 0.4, a loss of 0.45 goes 92 % of the way, and 0.5 only 83 %: d is 16"
    if intrinsic_dimension({10: 2.5, 100: 1.3}, 3.0, 1.0) is not None:
        return "if none of them goes 90 % of the way, the answer is None"


@checker
def check_shared_directions(shared_directions):
    """Exercise 11.2: phi of what two updates write to: their left singular vectors."""
    draw = np.random.default_rng(92)
    left, right = (np.linalg.qr(draw.normal(size=(n, n))).Q for n in (9, 12))
    s = np.array([8.0, 7.0, 6.0, 5.0, 4.0, 3.0])
    first = left[:, :6] * s @ right[:, :6].T
    second = left[:, [0, 6, 1, 7, 8, 2]] * s @ right[:, [6, 7, 8, 9, 10, 11]].T
    answer = float(attempt(shared_directions, first, second, 2, 4))
    if answer > 1 and math.isclose(answer, 2, abs_tol=1e-6):
        return "phi is at most 1: divide by the smaller number of directions"
    if math.isclose(answer, 0, abs_tol=1e-6):
        return "these two read nothing in common, but they write in common: that stands in the columns of U"
    if math.isclose(answer, 0.5, abs_tol=1e-6):
        return (
            "do you divide by the smaller number, and take the top i of the first, the top j of the second?"
        )
    if math.isclose(answer, math.sqrt(2) / 2, abs_tol=1e-6):
        return "is the norm squared?"
    if not math.isclose(answer, 1, abs_tol=1e-6):
        return (
            "the top 2 of the first lie within the top 4 of the second here, so phi is 1, "
            f"yours is {answer:.3f}"
        )
    for i, j, expected in ((1, 1, 1.0), (2, 2, 0.5), (4, 4, 0.5), (6, 1, 1.0)):
        if not math.isclose(shared_directions(first, second, i, j), expected, abs_tol=1e-6):
            return (
                f"for i = {i} and j = {j} phi is {expected} here, "
                f"yours is {shared_directions(first, second, i, j):.3f}"
            )


@checker
def check_control(excess_energy):
    """Exercise 11.3: energy in the top directions, minus that of Gaussian matrices of the same shape."""
    draw = np.random.default_rng(93)
    noise = draw.normal(size=(60, 90))
    one = np.outer(draw.normal(size=60), draw.normal(size=90))
    chance = 0.19  # the mean share of the top 4 of a Gaussian 60 x 90, from 400 draws
    answer = float(attempt(excess_energy, one, 4))
    if math.isclose(answer, 1, abs_tol=0.02):
        return (
            "all of the energy of an update of rank 1 is in its top 4, but chance has some too: subtract that"
        )
    if answer < 0.3:
        return (
            "your control has most of its energy in one direction: numbers between 0 and 1 have a mean, "
            "and that is a direction; draw them with mean 0"
        )
    if not math.isclose(answer, 1 - chance, abs_tol=0.03):
        return (
            f"an update of rank 1 of 60 x 90 has {1 - chance:.2f} more in its top 4 than chance, yours says "
            f"{answer:.2f}: has the control the same shape, and are its singular values squared?"
        )
    if not abs(float(excess_energy(noise, 4))) < 0.03:
        return f"a Gaussian matrix has no more than chance, yours says {float(excess_energy(noise, 4)):.2f}"
    if not math.isclose(float(excess_energy(1e-3 * one, 4)), answer, abs_tol=0.03):
        return "a smaller update of the same directions must have the same answer: energy is a share"
