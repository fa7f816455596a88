"""Checkers of lesson 02, the singular value decomposition."""

import numpy as np

from lora_lab.checks import attempt, checker
from lora_lab.low_rank import low_rank_approximation


@checker
def check_rank_for_energy(rank_for_energy):
    """Exercise 2.1: the smallest k with s_1^2 + ... + s_k^2 >= share * sum of all s_i^2."""
    s = np.array([5.0, 4.0, 3.0, 0.0])  # energies 0.5, 0.82, 1, 1
    rank = attempt(rank_for_energy, s, 0.8)
    if rank == 1:
        return "for s = 5, 4, 3, 0 and a share of 0.8 it gives 1; does your count start at 0?"
    if rank == 3:
        return "for s = 5, 4, 3, 0 and a share of 0.8 it gives 3; do you add s, or its squares?"
    if rank != 2:
        return f"for s = 5, 4, 3, 0 the energies are 0.5, 0.82, 1, 1: a share of 0.8 needs 2, not {rank}"
    rank = rank_for_energy(s, 0.5)
    if rank != 1:
        return f"a share of 0.5 is reached exactly by the first term, and at least is enough; got {rank}"
    rank = rank_for_energy(s, 1.0)
    if rank != 3:
        return f"the last singular value is 0, so three terms keep everything; got {rank}"


@checker
def check_balanced_factors(balanced_factors):
    """Exercise 2.2: ||B|| = ||A|| and B @ A is the best approximation of the rank asked for."""
    M = np.random.default_rng(22).standard_normal((9, 6))
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    B, A = attempt(balanced_factors, U, s, Vt, 3)
    if B.shape != (9, 3) or A.shape != (3, 6):
        return (
            f"for a 9 x 6 matrix at rank 3, B must be (9, 3) and A (3, 6), yours are {B.shape} and {A.shape}"
        )
    if np.allclose(B @ A, (U[:, :3] * s[:3] ** 2) @ Vt[:3]):
        return "the singular values are in both factors, so the product holds their squares"
    if np.allclose(B @ A, (U[:, :3] * s[:3] / 4) @ Vt[:3]):
        return "half in each factor multiplies to a quarter: which number times itself gives s?"
    if not np.allclose(B @ A, low_rank_approximation(M, 3)):
        return "B @ A is not the best approximation of rank 3"
    norm_B, norm_A = np.linalg.norm(B), np.linalg.norm(A)
    if not np.isclose(norm_B, norm_A):
        return f"the norms of B and A must be equal, yours are {norm_B:.3f} and {norm_A:.3f}"


@checker
def check_control_matrix(control_matrix):
    """Exercise 2.3: random, same shape and Frobenius norm, no large first singular value."""
    rng = np.random.default_rng(23)
    M = 5 + np.outer(np.arange(60.0), np.ones(40))
    control = attempt(control_matrix, M, rng)
    if np.shape(control) != M.shape:
        return f"it must have the shape of M, {M.shape}, yours has {np.shape(control)}"
    if np.array_equal(control, control_matrix(M, rng)):
        return "it gives the same matrix twice: take the random numbers from rng"
    if not np.isclose(np.linalg.norm(control), np.linalg.norm(M)):
        ratio = np.linalg.norm(control) / np.linalg.norm(M)
        return f"its norm must be that of M, yours is {ratio:.3f} times as large"
    s = np.linalg.svd(control, compute_uv=False)
    share = s[0] ** 2 / (s**2).sum()
    if share > 0.2:
        return f"its first singular value holds {share:.0%} of the energy: have its numbers a mean of zero?"
