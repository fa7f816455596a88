"""Checkers of lesson 11, why low rank works."""

import math

import numpy as np

from lora_lab.checks import NotAttempted, attempt, checker, is_blank


@checker
def check_chance(times_chance):
    """Exercise 11.1: phi over 64 / n, the larger number of directions over all that there are."""
    small, large = times_chance
    if is_blank(small) or is_blank(large):
        raise NotAttempted
    small, large = float(small), float(large)
    if math.isclose(small, 8.8, rel_tol=0.02):
        return "by chance the *larger* number of directions counts: 64 of 128, not 8"
    if math.isclose(small, 0.5, rel_tol=0.02) and math.isclose(large, 64 / 4096, rel_tol=0.02):
        return "that is chance itself: how many times as large is each phi?"
    if math.isclose(small, 0.05, rel_tol=0.1):
        return "that is phi minus chance: divide"
    if not math.isclose(small, 1.1, rel_tol=0.03):
        return f"in a width of 128 chance gives 64 / 128, and phi is 0.55; yours is {small:.3g} times that"
    if not math.isclose(large, 16, rel_tol=0.03):
        return f"in a width of 4,096 chance gives 64 / 4096, and phi is 0.25; yours is {large:.3g} times that"


@checker
def check_control(excess_energy):
    """Exercise 11.2: energy in the top directions, minus that of Gaussian matrices of the same shape."""
    draw = np.random.default_rng(93)
    noise = draw.normal(size=(24, 200))
    one = np.outer(draw.normal(size=24), draw.normal(size=200))
    chance = 0.26  # the mean share of the top 4 of a Gaussian 24 x 200; of 64 x 64 it is 0.21
    answer = float(attempt(excess_energy, one, 4))
    if math.isclose(answer, 1, abs_tol=0.02):
        return (
            "all of the energy of an update of rank 1 is in its top 4, but chance has some too: subtract that"
        )
    if answer < 0.3:
        return (
            "your control is strong in a few directions: are its numbers independent, and of mean 0? "
            "(Between 0 and 1 they have a mean, and that is a direction.)"
        )
    if not math.isclose(answer, 1 - chance, abs_tol=0.03):
        return (
            f"an update of rank 1 of 24 x 200 has {1 - chance:.2f} more in its top 4 than chance, yours says "
            f"{answer:.2f}: has the control the same shape, and are its singular values squared?"
        )
    if not abs(float(excess_energy(noise, 4))) < 0.03:
        return f"a Gaussian matrix has no more than chance, yours says {float(excess_energy(noise, 4)):.2f}"
    if not math.isclose(float(excess_energy(1e-3 * one, 4)), answer, abs_tol=0.03):
        return "a smaller update of the same directions must have the same answer: energy is a share"


@checker
def check_sign(spread):
    """Exercise 11.3: rank 2 at most, and a sign of full rank."""
    for n in (6, 7, 12):
        G = np.asarray(attempt(spread, n))
        G = G if G.dtype == np.float32 else G.astype(float)  # the rank is counted in its own precision
        if G.shape != (n, n):
            return f"spread({n}) must be a matrix of {n} x {n}, yours is {G.shape}"
        rank = np.linalg.matrix_rank(G)
        of_sign = np.linalg.matrix_rank(np.sign(G))
        if rank > 2:
            return f"spread({n}) must have rank 2 at most, yours has {rank}: a sum of two outer products"
        if rank < 2:
            return f"yours has rank {rank}, and then its sign has no more: two outer products are needed"
        if of_sign < n and not G.all():
            return (
                f"for n = {n} the sign has rank {of_sign}: an entry of your matrix is 0, and so is its sign"
            )
        if of_sign < n:
            return (
                f"for n = {n} the sign has rank {of_sign}: it repeats a row, or a mixture of rows; what "
                "about a triangle, +1 on one side of the diagonal and -1 on the other?"
            )
