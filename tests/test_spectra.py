"""What an update looks like: hand-made matrices, numpy, and the laws that hold for any."""

import numpy as np
import pytest
import torch

from lora_lab.counting import count_trainable_parameters
from lora_lab.gpt2 import (
    ALL_TARGETS,
    apply_lora_to_gpt2,
    dense_names,
    dense_weights,
    load_gpt2,
    random_gpt2,
)
from lora_lab.low_rank import low_rank_approximation
from lora_lab.merging import adapted_weights
from lora_lab.spectra import (
    amplification,
    random_similarity,
    random_update,
    resemblance,
    row_changes,
    stable_rank,
    subspace_similarity,
    top_directions,
    train_only_dense,
    truncated,
    weight_updates,
    with_updates,
)


def drawn(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def orthonormal(n, count, seed=0):
    return np.linalg.qr(drawn(n, count, seed)).Q


def axes(n, *which):
    return np.eye(n)[:, which]


# stable_rank


def test_the_stable_rank_of_singular_values_2_1_1_is_one_and_a_half():
    assert stable_rank(np.diag([2.0, 1.0, 1.0])) == pytest.approx(1.5)


def test_the_stable_rank_is_that_of_numpys_norms_and_blind_to_scale_and_transposition():
    M = drawn(9, 14)
    expected = np.linalg.norm(M) ** 2 / np.linalg.norm(M, 2) ** 2
    assert stable_rank(M) == pytest.approx(expected) and stable_rank(M.T) == pytest.approx(expected)
    assert stable_rank(100 * M) == pytest.approx(expected)


def test_the_stable_rank_goes_from_one_to_the_rank_and_ignores_a_tiny_direction():
    assert stable_rank(np.outer([1.0, 2.0], [3.0, 1.0, 1.0])) == pytest.approx(1)
    assert stable_rank(orthonormal(7, 7)) == pytest.approx(7)
    assert stable_rank(np.diag([1.0, 1e-3])) == pytest.approx(1, abs=1e-5)  # its rank is 2


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_the_stable_rank_of_enormous_and_tiny_numbers_is_the_same(size):
    """Their squares are no floating point numbers any more."""
    assert stable_rank(size * np.diag([2.0, 1.0, 1.0])) == pytest.approx(1.5)


def test_a_matrix_of_zeros_has_no_stable_rank():
    with pytest.raises(ValueError, match="zeros"):
        stable_rank(np.zeros((3, 4)))


# top_directions


def test_the_top_directions_of_a_matrix_with_one_large_entry_point_to_it():
    M = np.zeros((4, 6))
    M[2, 5], M[0, 1] = -7.0, 3.0
    U, V = top_directions(M, 2)
    assert (U.shape, V.shape) == ((4, 2), (6, 2))
    np.testing.assert_allclose(abs(U), axes(4, 2, 0), atol=1e-12)
    np.testing.assert_allclose(abs(V), axes(6, 5, 1), atol=1e-12)


def test_what_lies_in_the_top_directions_is_the_best_approximation():
    M = drawn(8, 5)
    U, V = top_directions(M, 3)
    np.testing.assert_allclose(U @ U.T @ M @ V @ V.T, low_rank_approximation(M, 3), atol=1e-12)


@pytest.mark.parametrize("count", [0, 6])
def test_more_directions_than_there_are_are_refused(count):
    with pytest.raises(ValueError, match=f"from 1 to 5.*got {count}"):
        top_directions(drawn(8, 5), count)


# subspace_similarity


def test_phi_of_hand_made_subspaces():
    first, second = axes(5, 0, 1), axes(5, 1, 2, 3)
    assert subspace_similarity(first, first) == pytest.approx(1)
    assert subspace_similarity(first, second) == pytest.approx(0.5)  # one of the two is shared
    assert subspace_similarity(axes(5, 0), second) == 0
    assert subspace_similarity(axes(5, 2), second) == pytest.approx(1)  # it lies inside


def test_a_tilted_direction_counts_with_the_square_of_its_cosine():
    tilted = np.array([[np.cos(0.3)], [np.sin(0.3)], [0.0]])
    assert subspace_similarity(axes(3, 0), tilted) == pytest.approx(np.cos(0.3) ** 2)


def test_phi_is_the_trace_of_two_projections_and_does_not_depend_on_the_order():
    U, V = orthonormal(12, 3), orthonormal(12, 5, seed=1)
    onto_U, onto_V = (M @ np.linalg.pinv(M) for M in (U, V))
    assert subspace_similarity(U, V) == pytest.approx(np.trace(onto_U @ onto_V) / 3)
    assert subspace_similarity(V, U) == pytest.approx(subspace_similarity(U, V))


def test_phi_does_not_depend_on_the_basis():
    U, V, turn = orthonormal(12, 3), orthonormal(12, 5, seed=1), orthonormal(3, 3, seed=2)
    assert subspace_similarity(U @ turn, V) == pytest.approx(subspace_similarity(U, V))


def test_phi_is_one_minus_the_squared_distance_over_p_not_as_the_paper_prints():
    U, V = orthonormal(12, 3), orthonormal(12, 5, seed=1)
    p, sigma = 3, np.linalg.svd(U.T @ V, compute_uv=False)
    squared_distance = p - (sigma**2).sum()
    assert subspace_similarity(U, V) == pytest.approx(1 - squared_distance / p)
    assert abs(subspace_similarity(U, V) - (1 - squared_distance) / p) > 0.1


def test_columns_that_are_not_orthonormal_are_refused_and_so_are_two_spaces():
    with pytest.raises(ValueError, match="orthonormal"):
        subspace_similarity(axes(5, 0), 2 * axes(5, 0))
    with pytest.raises(ValueError, match="orthonormal"):
        subspace_similarity(drawn(5, 2), axes(5, 0))
    with pytest.raises(ValueError, match="orthonormal"):
        subspace_similarity(axes(5, 0), 1.01 * axes(5, 0))  # a length that is 1 % off is no rounding
    single = orthonormal(64, 8).astype(np.float32)
    assert subspace_similarity(single, single) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="5 and 6"):
        subspace_similarity(axes(5, 0), axes(6, 0))


@pytest.mark.parametrize(("i", "j"), [(1, 1), (2, 10), (10, 2), (7, 7)])
def test_random_subspaces_have_the_phi_that_the_formula_says(i, j):
    found = [
        subspace_similarity(orthonormal(40, i, 2 * seed), orthonormal(40, j, 2 * seed + 1))
        for seed in range(400)
    ]
    assert np.mean(found) == pytest.approx(random_similarity(40, i, j), abs=0.01)


def test_a_subspace_of_more_dimensions_than_there_are_is_refused():
    assert random_similarity(5, 5, 1) == 1
    for i, j in ((6, 1), (1, 6), (0, 1)):
        with pytest.raises(ValueError, match="from 1 to 5"):
            random_similarity(5, i, j)


# resemblance


def test_an_intruder_is_a_strong_direction_that_no_old_one_resembles():
    """Old directions e0, e1, e2; what comes in points between all, and what only grows is no intruder."""
    W0 = np.diag([3.0, 2.0, 1.0])
    between = np.ones(3) / np.sqrt(3)
    new = W0 + 100 * np.outer(between, [0, 0, 1])
    assert resemblance(new, W0, 1) == pytest.approx([1 / np.sqrt(3)], abs=0.01)
    grown = W0 + np.diag([0.0, 0.0, 100.0])
    assert resemblance(grown, W0, 3) == pytest.approx([1, 1, 1])


def test_only_the_strongest_directions_are_asked_for_and_those_that_are_written():
    W0, turn = np.diag([4.0, 3.0, 2.0]), np.linalg.qr(drawn(3, 3)).Q
    assert resemblance(W0 @ turn, W0, 2) == pytest.approx([1, 1])  # another input, the same outputs
    assert resemblance(turn @ W0, W0, 2) == pytest.approx(abs(turn[:, :2]).max(axis=0))


def test_resemblance_wants_two_weights_of_one_shape():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(3, 2\)"):
        resemblance(drawn(3, 2), drawn(2, 3))


# amplification


def test_an_update_on_a_weak_direction_amplifies_more_than_one_on_a_strong_direction():
    W = np.diag([10.0, 1.0, 0.1])
    assert amplification(np.diag([0.0, 0.0, 2.0]), W, 1) == pytest.approx(20)
    assert amplification(np.diag([2.0, 0.0, 0.0]), W, 1) == pytest.approx(0.2)


def test_only_the_top_directions_count_and_left_is_not_right():
    update, W = np.zeros((3, 4)), drawn(3, 4)
    update[0, 2], update[1, 1] = 5.0, 0.5
    assert amplification(update, W, 1) == pytest.approx(5 / abs(W[0, 2]))
    in_weight = np.linalg.norm(W[np.ix_([0, 1], [2, 1])])
    assert amplification(update, W, 2) == pytest.approx(np.hypot(5, 0.5) / in_weight)


def test_the_whole_weight_as_its_own_update_is_amplified_by_one():
    W = drawn(6, 4)
    assert amplification(W, W, 4) == pytest.approx(1) and amplification(3 * W, W, 2) == pytest.approx(3)


def test_an_update_of_another_shape_or_of_directions_that_the_weight_lacks_is_refused():
    with pytest.raises(ValueError, match="shape"):
        amplification(np.eye(3), np.eye(4), 1)
    with pytest.raises(ValueError, match="nothing to amplify"):
        amplification(np.diag([0.0, 1.0]), np.diag([1.0, 0.0]), 1)


# random_update


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_random_update_has_the_rank_the_shape_and_the_norm_and_is_drawn(rank):
    like = drawn(5, 9).astype(np.float32)
    update = random_update(like, rank, np.random.default_rng(0))
    assert update.shape == like.shape and update.dtype == like.dtype
    assert np.linalg.matrix_rank(update) == rank
    assert np.linalg.norm(update) == pytest.approx(np.linalg.norm(like), rel=1e-5)
    assert not np.allclose(update, random_update(like, rank, np.random.default_rng(1)))


def test_tensors_are_taken_as_well():
    M = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert stable_rank(M) == pytest.approx(10 / 9)
    assert amplification(M, 2 * M, 1) == pytest.approx(0.5)
    assert random_update(M, 1, np.random.default_rng(0)).shape == (2, 2)


@pytest.mark.parametrize("function", [stable_rank, lambda M: top_directions(M, 1)])
def test_a_matrix_with_a_nan_is_refused(function):
    with pytest.raises(ValueError, match="row 1, column 0 is nan"):
        function(np.array([[1.0, 2.0], [np.nan, 1.0]]))


# train_only_dense, weight_updates, with_updates, truncated


def test_only_the_weights_that_lora_adapts_are_trained():
    model = train_only_dense(load_gpt2())
    shown = sum(W.numel() for W in dense_weights(load_gpt2()).values())
    assert count_trainable_parameters(model) == shown == 786_432
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(dense_names(model)) and len(trained) == 16
    adapted = apply_lora_to_gpt2(load_gpt2(), 1, 2, ALL_TARGETS)
    bases = [
        n for n, _ in adapted.named_parameters() if ".h." in n and n.endswith("weight") and "ln_" not in n
    ]
    assert len(bases) == len(trained)


def test_updates_taken_from_a_model_and_put_back_give_the_same_model():
    model, ids = load_gpt2(), torch.arange(40)[None]
    torch.manual_seed(0)
    with torch.no_grad():
        for W in dense_weights(model).values():
            W += 0.05 * torch.randn(W.shape)
        again = with_updates(weight_updates(model))
        assert not torch.allclose(model(ids).logits, load_gpt2()(ids).logits, atol=0.1)
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-3, rtol=1e-3)


def test_truncated_updates_have_the_rank_and_keep_the_top():
    update = np.diag([4.0, 2.0, 1.0])
    np.testing.assert_allclose(truncated({"0.q": update}, 2)["0.q"], np.diag([4.0, 2.0, 0.0]), atol=1e-12)


# row_changes


def test_row_changes_of_a_model_that_has_not_changed_are_zero():
    changes = torch.tensor(row_changes(apply_lora_to_gpt2(random_gpt2(), 2, 4, ALL_TARGETS), random_gpt2()))
    assert changes.shape == (12, 2) and changes.abs().max() < 1e-5


def test_row_changes_tell_length_from_direction():
    longer, turned = random_gpt2(), random_gpt2()
    with torch.no_grad():
        for _, parameter in longer.named_parameters():
            parameter.mul_(1.5)
        for matrix in dense_weights(turned).values():
            matrix.copy_(matrix.roll(1, dims=1))
    for length, turn in row_changes(longer, random_gpt2()):
        assert length == pytest.approx(0.5, abs=1e-4) and abs(turn) < 1e-5
    for length, turn in row_changes(turned, random_gpt2()):
        assert length < 1e-5 and turn == pytest.approx(1, abs=0.2)


def test_row_changes_see_the_update_of_lora():
    model = apply_lora_to_gpt2(random_gpt2(), 2, 4, ALL_TARGETS)
    for _, layer in adapted_weights(model):
        torch.nn.init.normal_(layer.B)
    assert all(length > 0.01 and turn > 0.01 for length, turn in row_changes(model, random_gpt2()))


def test_a_matrix_of_one_direction_has_the_stable_rank_one():
    assert stable_rank(np.diag([2.0, 0.0, 0.0])) == 1


def test_a_weight_resembles_itself_and_ten_directions_are_asked_for():
    W = np.random.default_rng(0).normal(size=(12, 12))
    np.testing.assert_allclose(resemblance(W, W), np.ones(10))


@pytest.mark.parametrize("shapes", [((3, 4), (4, 3)), ((4, 3), (3, 4))])
def test_two_shapes_are_refused_in_either_order(shapes):
    first, second = (np.eye(*shape) for shape in shapes)
    for function in (resemblance, lambda a, b: amplification(a, b, 1)):
        with pytest.raises(ValueError, match="shape"):
            function(first, second)
    with pytest.raises(ValueError, match="of one space"):
        subspace_similarity(np.eye(shapes[0][0])[:, :2], np.eye(shapes[1][0])[:, :2])


def test_rows_that_grow_by_different_factors_have_not_turned():
    grown = random_gpt2()
    with torch.no_grad():
        for matrix in dense_weights(grown).values():
            matrix.mul_(torch.linspace(1, 2, len(matrix))[:, None])
    for length, turn in row_changes(grown, random_gpt2()):
        assert length == pytest.approx(0.5, abs=1e-3) and abs(turn) < 1e-5
