"""Rank, the truncated SVD, its error and its cost, against numpy."""

import numpy as np
import pytest

from lora_lab.low_rank import (
    break_even_rank,
    eckart_young_error,
    energy,
    factor_size,
    low_rank_approximation,
    numerical_rank,
    truncate_svd,
)


def planted(rows, columns, rank, dtype=np.float64):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))).astype(dtype)


def full(rows=12, columns=9):
    return np.random.default_rng(1).normal(size=(rows, columns))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(30, 20, 3), (20, 30, 7), (1, 9, 1), (40, 40, 40)])
def test_numerical_rank_is_the_planted_rank_and_that_of_numpy(rows, columns, rank, dtype):
    M = planted(rows, columns, rank, dtype)
    assert numerical_rank(M) == np.linalg.matrix_rank(M) == rank


def test_rounding_error_counts_in_float32_as_zero_and_in_float64_as_a_number():
    M = np.diag([1.0, 1e-9])
    assert numerical_rank(M) == 2
    assert numerical_rank(M.astype(np.float32)) == 1


def test_a_rank_one_product_rounded_to_float32_still_has_rank_one():
    M = planted(50, 40, 1)
    assert np.linalg.matrix_rank(M.astype(np.float32).astype(np.float64)) > 1  # the rounding is there
    assert numerical_rank(M.astype(np.float32)) == 1


def test_the_tolerance_decides_which_singular_values_count():
    M = np.diag([5.0, 3.0, 1.0])
    assert [numerical_rank(M, tolerance) for tolerance in (0.5, 1.0, 4.0, 5.0)] == [3, 2, 1, 0]


def test_a_zero_matrix_has_rank_zero():
    assert numerical_rank(np.zeros((3, 4))) == 0


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.float16])
def test_other_real_numbers_are_counted_in_float64(dtype):
    assert numerical_rank(np.eye(4, 3).astype(dtype)) == 3


def test_a_list_of_lists_is_a_matrix():
    assert numerical_rank([[1, 2], [2, 4], [0, 1]]) == 2


def test_truncation_keeps_the_largest_singular_value_of_a_diagonal_matrix():
    M = np.array([[2.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 3.0, 0]])
    np.testing.assert_allclose(low_rank_approximation(M, 1), np.diag([0, 5.0, 0, 0])[:3], atol=1e-14)
    np.testing.assert_allclose(low_rank_approximation(M, 2), np.diag([0, 5.0, 3.0, 0])[:3], atol=1e-14)


def test_factors_have_the_shapes_of_lora_and_the_product_has_the_rank():
    B, A = truncate_svd(*np.linalg.svd(full(12, 9), full_matrices=False), 4)
    assert B.shape == (12, 4) and A.shape == (4, 9)
    assert np.linalg.matrix_rank(B @ A) == 4


def test_the_singular_values_are_in_b_and_the_rows_of_a_are_orthonormal():
    U, s, Vt = np.linalg.svd(full(), full_matrices=False)
    B, A = truncate_svd(U, s, Vt, 4)
    np.testing.assert_allclose(B.T @ B, np.diag(s[:4] ** 2), atol=1e-12)
    np.testing.assert_allclose(A @ A.T, np.eye(4), atol=1e-12)


def test_truncation_works_on_an_svd_with_full_matrices_too():
    M = full()
    B, A = truncate_svd(*np.linalg.svd(M, full_matrices=True), 5)
    np.testing.assert_allclose(B @ A, low_rank_approximation(M, 5), atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 9), (9, 12), (1, 5), (5, 1)])
def test_full_rank_gives_the_matrix_back(shape):
    M = full(*shape)
    np.testing.assert_allclose(low_rank_approximation(M, min(shape)), M, atol=1e-12)


def test_float32_stays_float32():
    assert low_rank_approximation(full().astype(np.float32), 3).dtype == np.float32


@pytest.mark.parametrize("rank", [1, 4, 8, 9])
@pytest.mark.parametrize(("norm", "order"), [("frobenius", "fro"), ("spectral", 2)])
def test_eckart_young_error_is_the_measured_error(norm, order, rank):
    M = full()
    measured = np.linalg.norm(M - low_rank_approximation(M, rank), order)
    s = np.linalg.svd(M, compute_uv=False)
    assert eckart_young_error(s, rank, norm) == pytest.approx(measured, abs=1e-12)


def test_eckart_young_error_by_hand():
    s = np.array([5.0, 4.0, 3.0])
    assert eckart_young_error(s, 1) == 5.0  # sqrt(16 + 9)
    assert eckart_young_error(s, 1, "spectral") == 4.0
    assert eckart_young_error(s, 3) == eckart_young_error(s, 3, "spectral") == 0.0


@pytest.mark.parametrize(("norm", "order"), [("frobenius", "fro"), ("spectral", 2)])
def test_no_random_candidate_of_the_same_rank_is_nearer(norm, order):
    M, rank = full(), 3
    rng = np.random.default_rng(2)
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    B, A = truncate_svd(U, s, Vt, rank)
    least = eckart_young_error(s, rank, norm)
    for _ in range(100):
        rows = rng.normal(size=(rank, 9))
        fitted = M @ np.linalg.pinv(rows) @ rows  # the best that these rows can do
        shaken = (B + 0.01 * rng.normal(size=B.shape)) @ (A + 0.01 * rng.normal(size=A.shape))
        for candidate in (fitted, shaken):
            assert np.linalg.matrix_rank(candidate) == rank
            assert np.linalg.norm(M - candidate, order) >= least - 1e-12


def test_energy_by_hand():
    np.testing.assert_allclose(energy(np.array([2.0, 1.0, 1.0])), [4 / 6, 5 / 6, 1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_energy_rises_to_exactly_one(kind):
    s = np.sort(np.random.default_rng(0).random(10_000).astype(kind))[::-1]
    assert energy(s)[-1] == 1 and (np.diff(energy(s)) >= 0).all()


def test_energy_is_the_share_of_the_squared_norm_that_truncation_keeps():
    M = full()
    shares = energy(np.linalg.svd(M, compute_uv=False))
    for rank in range(1, 10):
        kept = np.linalg.norm(low_rank_approximation(M, rank)) ** 2 / np.linalg.norm(M) ** 2
        assert shares[rank - 1] == pytest.approx(kept)
    assert (np.diff(shares) > 0).all() and shares[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "size"), [(100, 500, 5, 3_000), (1600, 1600, 16, 51_200), (3, 4, 1, 7)]
)
def test_factor_size_counts_the_entries_of_both_factors(rows, columns, rank, size):
    assert factor_size(rows, columns, rank) == size
    assert np.zeros((rows, rank)).size + np.zeros((rank, columns)).size == size


def test_factors_are_smaller_than_the_matrix_just_below_the_break_even_rank():
    assert break_even_rank(100, 500) == pytest.approx(83 + 1 / 3)
    assert factor_size(100, 500, 83) < 100 * 500 < factor_size(100, 500, 84)


def test_a_square_matrix_breaks_even_at_half_its_side():
    assert break_even_rank(768, 768) == 384
    assert factor_size(768, 768, 384) == 768 * 768


def test_a_numpy_integer_is_a_rank():
    assert factor_size(100, 500, np.int64(5)) == 3_000


USES_OF_A_RANK = {
    "factor_size": lambda rank: factor_size(3, 4, rank),
    "truncate_svd": lambda rank: truncate_svd(*np.linalg.svd(full(3, 4), full_matrices=False), rank),
    "low_rank_approximation": lambda rank: low_rank_approximation(full(3, 4), rank),
}


@pytest.mark.parametrize("use", USES_OF_A_RANK.values(), ids=USES_OF_A_RANK)
@pytest.mark.parametrize("rank", [2.0, 2.5, True, np.True_, "2", None], ids=repr)
def test_a_rank_that_is_no_whole_number_is_a_type_error_that_names_it(use, rank):
    with pytest.raises(TypeError, match="rank must be") as error:
        use(rank)
    assert repr(rank) in str(error.value)


@pytest.mark.parametrize("use", USES_OF_A_RANK.values(), ids=USES_OF_A_RANK)
@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_out_of_range_is_a_value_error_that_names_it_and_the_largest(use, rank):
    with pytest.raises(ValueError, match=f"from 1 to 3 .* got {rank}$"):
        use(rank)


USES_OF_A_MATRIX = {
    "numerical_rank": numerical_rank,
    "low_rank_approximation": lambda M: low_rank_approximation(M, 1),
}


@pytest.mark.parametrize("use", USES_OF_A_MATRIX.values(), ids=USES_OF_A_MATRIX)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_a_value_error_that_names_its_place(use, number):
    M = np.ones((3, 4))
    M[2, 1] = number
    with pytest.raises(ValueError, match=f"row 2, column 1 is {number}"):
        use(M)


@pytest.mark.parametrize("use", USES_OF_A_MATRIX.values(), ids=USES_OF_A_MATRIX)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3), (3, 0)])
def test_an_array_that_is_no_matrix_is_a_value_error_that_names_its_shape(use, shape):
    with pytest.raises(ValueError, match="rows and columns") as error:
        use(np.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("use", USES_OF_A_MATRIX.values(), ids=USES_OF_A_MATRIX)
@pytest.mark.parametrize(
    ("M", "kind"), [(np.eye(2) * 1j, "complex128"), (np.array([["a", "b"]]), "<U1"), ([[None]], "object")]
)
def test_entries_that_are_no_real_numbers_are_a_type_error_that_names_their_type(use, M, kind):
    with pytest.raises(TypeError, match=kind):
        use(M)


@pytest.mark.parametrize("norm", ["nuclear", 2, None])
def test_an_unknown_norm_is_a_value_error_that_names_it(norm):
    with pytest.raises(ValueError, match="'frobenius' or 'spectral'") as error:
        eckart_young_error(np.array([2.0, 1.0]), 1, norm)
    assert repr(norm) in str(error.value)


def test_a_matrix_without_rows_has_no_break_even_rank():
    with pytest.raises(ValueError, match="0 x 5"):
        break_even_rank(0, 5)


def test_the_first_entry_that_is_not_finite_is_named():
    M = full()
    M[1, 2], M[3, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="row 1, column 2 is nan"):
        numerical_rank(M)


def test_a_matrix_of_one_row_breaks_even_below_rank_one():
    assert break_even_rank(1, 5) == break_even_rank(5, 1) == 5 / 6


def test_a_negative_rank_has_no_error():
    with pytest.raises(ValueError, match="from 0 to 3, got -1"):
        eckart_young_error(np.array([3.0, 2.0, 1.0]), -1)
