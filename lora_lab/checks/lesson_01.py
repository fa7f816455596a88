"""Checkers of lesson 01, matrix rank."""

import numpy as np

from lora_lab.checks import attempt, checker


@checker
def check_numbers_saved(numbers_saved):
    """Exercise 1.1: rows * columns - rank * (rows + columns)."""
    saved = attempt(numbers_saved, 100, 500, 5)
    if saved == 3_000:
        return "this is what the factors hold; how many numbers do you save beside the matrix itself?"
    if saved == -47_000:
        return "at rank 5 you save something, so the number must be positive: which is subtracted from which?"
    if saved != 47_000:
        return f"for 100 x 500 at rank 5, a matrix of 50,000 against factors of 3,000, it gives {saved}"
    saved = numbers_saved(10, 10, 8)
    if saved != -60:
        return f"for 10 x 10 at rank 8 the factors are larger: it must be -60, it gives {saved}"


@checker
def check_checkerboard(B, A):
    """Exercise 1.2: any B (8, 2) and A (2, 8) whose product is the 8 x 8 chessboard with 0 in the corner."""
    B, A = np.asarray(B), np.asarray(A)
    if B.shape == (2, 8) and A.shape == (8, 2):
        return "B is the tall one, (8, 2), and A the wide one, (2, 8): have you swapped them?"
    if B.shape != (8, 2) or A.shape != (2, 8):
        return f"B must be (8, 2) and A (2, 8), yours are {B.shape} and {A.shape}"
    board = np.indices((8, 8)).sum(axis=0) % 2
    if np.allclose(B @ A, 1 - board):
        return "the product has the colours the wrong way round: the corner must be 0"
    if not np.allclose(B @ A, board):
        row = int(np.argwhere(~np.isclose(B @ A, board))[0][0])
        return f"row {row} of the product is not that of the board: it is {(B @ A)[row].tolist()}"


@checker
def check_largest_paying_rank(largest_paying_rank):
    """Exercise 1.3: the largest whole rank strictly below rows * columns / (rows + columns)."""
    rank = attempt(largest_paying_rank, 100, 500)
    if not isinstance(rank, int | np.integer):
        return f"a rank is a whole number, yours is {rank!r}"
    if rank != 83:
        return f"for 100 x 500 it must be 83: 83 * 600 is below 50,000 and 84 * 600 above; yours is {rank}"
    if largest_paying_rank(1600, 1600) == 800:
        return "at rank 800 of 1600 x 1600 the factors hold as many numbers as the matrix: nothing is saved"
    for rows, columns in ((1600, 1600), (6, 3), (1, 1), (768, 3072)):
        right = max(r for r in range(min(rows, columns) + 1) if r * (rows + columns) < rows * columns)
        if largest_paying_rank(rows, columns) != right:
            return f"for {rows} x {columns} it must be {right}, yours is {largest_paying_rank(rows, columns)}"


@checker
def check_before_and_after(before, after):
    """Exercise 1.4: two 4 x 4 matrices of rank 4, different in every entry, by a change of rank 1."""
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    for name, matrix in (("before", before), ("after", after)):
        if matrix.shape != (4, 4):
            return f"`{name}` must be 4 x 4, yours has shape {matrix.shape}"
        rank = np.linalg.matrix_rank(matrix)
        if rank < 4:
            return f"`{name}` must have full rank, 4, yours has rank {rank}"
    change = after - before
    same = np.argwhere(np.isclose(change, 0))
    if len(same):
        row, column = same[0]
        return (
            f"every entry must change, and {len(same)} do not, such as the one in row {row}, column {column}"
        )
    size = max(np.linalg.norm(before), np.linalg.norm(after))
    rank = np.linalg.matrix_rank(change, tol=1e-6 * size)  # the two may have been computed in float32
    if rank > 1:
        return f"`after - before` has rank {rank}: which matrix without a zero has rank 1?"
