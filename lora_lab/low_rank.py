"""Rank, the truncated SVD, its error, and what a factorisation costs. Lessons 01 and 02 build this file.

A matrix M (m, n) of rank r is a product B @ A with B (m, r) and A (r, n): the same letters as in LoRA, for
the same shapes.
"""

from numbers import Integral

import numpy as np


def check_rank(rank, rows, columns):
    """Raise unless `rank` is a whole number from 1 to min(rows, columns). TypeError for a wrong type, else
    ValueError.
    """
    if isinstance(rank, bool | np.bool_) or not isinstance(rank, Integral):
        raise TypeError(f"rank must be a whole number, got {rank!r}")
    if not 1 <= rank <= min(rows, columns):
        raise ValueError(
            f"rank must be from 1 to {min(rows, columns)} for a {rows} x {columns} matrix, got {rank}"
        )


def check_matrix(M):
    """Return `M` as a float array, or raise: TypeError for what is no array of real numbers, ValueError if it
    is not two-dimensional, is empty, or has a NaN or infinite entry.
    """
    M = np.asarray(M)
    if M.dtype.kind not in "fiub":
        raise TypeError(f"a matrix of real numbers is needed, got entries of type {M.dtype}")
    if M.ndim != 2 or M.size == 0:
        raise ValueError(f"a matrix with rows and columns is needed, got an array of shape {M.shape}")
    M = M if M.dtype in (np.float32, np.float64) else M.astype(np.float64)
    if not np.isfinite(M).all():
        row, column = np.argwhere(~np.isfinite(M))[0]
        raise ValueError(
            f"every entry must be finite, but the one at row {row}, column {column} is {M[row, column]}"
        )
    return M


def numerical_rank(M, tolerance=None):
    """How many singular values of `M` (m, n) are larger than `tolerance`.

    By default tolerance = max(m, n) * eps * s_1, with s_1 the largest singular value and eps the spacing of
    floating point numbers at 1 in float32, if M is in that (1.2e-7), or else in float64 (2.2e-16): what lies
    below is rounding error. This is the rule of np.linalg.matrix_rank (Golub and Van Loan, Matrix
    Computations, section 5.4.1). Raises what `check_matrix` raises.
    """
    M = check_matrix(M)
    s = np.linalg.svd(M, compute_uv=False)
    if tolerance is None:
        tolerance = max(M.shape) * np.finfo(M.dtype).eps * s[0]
    return int((s > tolerance).sum())


def factor_size(rows, columns, rank):
    """Numbers that B (rows, rank) and A (rank, columns) hold: rank * (rows + columns). Raises what
    `check_rank` raises.
    """
    check_rank(rank, rows, columns)
    return rank * (rows + columns)


def break_even_rank(rows, columns):
    """The rank r* = rows * columns / (rows + columns) at which B and A hold as many numbers as the matrix
    itself. ValueError for a side below 1.
    """
    if min(rows, columns) < 1:
        raise ValueError(f"a matrix has at least one row and one column, got {rows} x {columns}")
    return rows * columns / (rows + columns)


def truncate_svd(U, s, Vt, rank):
    """Factors (B, A) of the best approximation of rank `rank`, from a reduced SVD of an (m, n) matrix.

    B = U_r diag(s_r) is (m, r), A = V_r^T is (r, n); B @ A is the sum of the first r terms s_i u_i v_i^T. No
    matrix of that rank is nearer in the Frobenius or the spectral norm (Eckart and Young, Psychometrika
    1936). Raises what `check_rank` raises.
    """
    check_rank(rank, U.shape[0], Vt.shape[1])
    B = U[:, :rank] * s[:rank]
    A = Vt[:rank]
    return B, A


def low_rank_approximation(M, rank):
    """The matrix of rank `rank` nearest to `M` (m, n), as an (m, n) array. For several ranks of one matrix
    compute the SVD once and call `truncate_svd`. Raises what `check_matrix` and `check_rank` raise.
    """
    M = check_matrix(M)
    check_rank(rank, *M.shape)
    B, A = truncate_svd(*np.linalg.svd(M, full_matrices=False), rank)
    return B @ A


def eckart_young_error(s, rank, norm="frobenius"):
    """Error of the best approximation of rank `rank`, read off the singular values `s` (largest first) alone.

    frobenius: sqrt(s_{r+1}^2 + ... + s_n^2); spectral: s_{r+1}. Zero when nothing is cut off. ValueError for
    another norm, or for a rank that is not from 0 to the number of singular values.
    """
    if not 0 <= rank <= len(s):
        raise ValueError(f"rank must be from 0 to {len(s)}, got {rank}")
    rest = np.append(s[rank:], 0.0)
    if norm == "frobenius":
        return float(np.hypot.reduce(rest))  # the root of the sum of squares
    if norm == "spectral":
        return float(rest[0])
    raise ValueError(f"norm must be 'frobenius' or 'spectral', got {norm!r}")


def energy(s):
    """Share of the squared Frobenius norm that the first 1, 2, ..., n singular values `s` hold: a rising
    array that ends at 1.
    """
    if not s.any():
        raise ValueError("a matrix of zeros has no energy to share")
    held = np.cumsum((s / s.max()) ** 2)  # no square is too large or too small for a float
    return held / held[-1]
