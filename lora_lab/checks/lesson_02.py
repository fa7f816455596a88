"""Checkers of lesson 02, the singular value decomposition."""

import numpy as np

from lora_lab.checks import attempt, checker
from lora_lab.low_rank import energy, low_rank_approximation


@checker
def check_by_eye(by_eye):
    """Exercise 2.1: the singular values of [[0, -3], [2, 0]] are 3 and 2."""
    found = np.asarray(by_eye, dtype=float)
    if found.shape != (2,):
        return f"a 2 x 2 matrix has two singular values, yours are {found.tolist()}"
    if (found < 0).any():
        return "a singular value is a length divided by a length: can it be negative?"
    if np.allclose(found, [2, 3]):
        return "the right two, but the largest comes first"
    if not np.allclose(found, [3, 2]):
        return f"(1, 0) goes to (0, 2), and (0, 1) to (-3, 0): how long are they? Yours are {found.tolist()}"


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
def check_worst_matrix(worst):
    """Exercise 2.3: an 8 x 8 matrix whose first 4 terms keep half of its energy: all s_i are equal."""
    worst = np.asarray(worst, dtype=float)
    if worst.shape != (8, 8):
        return f"it must be an 8 x 8 matrix, yours has the shape {worst.shape}"
    if not worst.any():
        return "a matrix of zeros has no energy to keep"
    share = energy(np.linalg.svd(worst, compute_uv=False))[3]
    if np.linalg.matrix_rank(worst) <= 4:
        return "4 terms keep all of its energy, so its rank is at most 4: it must have full rank"
    if share > 0.5 + 1e-6:
        return f"4 terms keep {share:.0%} of its energy: its singular values are not all equal"
