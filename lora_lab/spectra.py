"""What an update of a weight looks like: how many directions it needs, which ones, and what it does to the
weight. Lesson 11 builds three of these functions.

The singular value decomposition of an update delta_W (out, in) is U diag(s) V^T. A direction is a term
s_i u_i v_i^T of it, a *subspace* is what some orthonormal columns span. Matrices are numpy arrays; torch
tensors that ask for no gradient are taken as well.
"""

import numpy as np
import torch

from lora_lab.gpt2 import dense_names, dense_weights, load_gpt2
from lora_lab.low_rank import check_matrix, check_rank, low_rank_approximation
from lora_lab.merging import merge


def stable_rank(M):
    """||M||_F^2 / s_1^2 = (s_1^2 + ... + s_n^2) / s_1^2: how many directions as strong as the strongest have
    the energy of `M`. From 1 (one direction) to the rank (all equally strong); unlike the rank, small
    singular values hardly move it.

    ValueError for a matrix of zeros; and what `check_matrix` raises. (Rudelson and Vershynin, math/0503442.)
    """
    s = np.linalg.svd(check_matrix(M), compute_uv=False)
    if not s[0]:
        raise ValueError("a matrix of zeros has no stable rank")
    return float(((s / s[0]) ** 2).sum())


def top_directions(M, count):
    """Orthonormal U (m, count) and V (n, count): the left and the right singular vectors of the `count`
    largest singular values of `M` (m, n). Raises what `check_matrix` and `check_rank` raise.
    """
    M = check_matrix(M)
    check_rank(count, *M.shape)
    U, _, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, :count], Vt[:count].T


def subspace_similarity(P, Q):
    """phi = ||P^T Q||_F^2 / min(i, j): how much of the smaller of two subspaces lies in the larger one, from
    0 (nothing) to 1 (all). `P` (n, i) and `Q` (n, j) have orthonormal columns.

    ValueError if the columns are not orthonormal, or of two lengths. (LoRA, 2106.09685, section 7.2; its
    Appendix G. With p = min(i, j) and the distance d^2 = p - ||P^T Q||_F^2 this is 1 - d^2 / p, not the
    (1 - d^2) / p that is printed there.)
    """
    P, Q = check_orthonormal(P), check_orthonormal(Q)
    if len(P) != len(Q):
        raise ValueError(
            f"two subspaces of one space are needed, got columns of {len(P)} and {len(Q)} numbers"
        )
    return float(np.linalg.norm(P.T @ Q) ** 2 / min(P.shape[1], Q.shape[1]))


def random_similarity(n, i, j):
    """max(i, j) / n: the mean phi of two subspaces of i and j dimensions, of n, that have nothing to do with
    each other. ValueError unless i and j are from 1 to n.
    """
    if not 1 <= min(i, j) <= max(i, j) <= n:
        raise ValueError(f"subspaces of {n} dimensions have from 1 to {n}, got {i} and {j}")
    return max(i, j) / n


def resemblance(W, W0, count=10):
    """How well each of the `count` strongest left singular vectors of `W` (m, n) is known to `W0` (m, n): the
    largest |cosine| with a left singular vector of W0, 1 for one that is still there. One below 0.5, say, is
    an *intruder*. Raises ValueError for two shapes, and what `top_directions` raises. (Shuttleworth et al.,
    arXiv 2410.21228, algorithm 1: k = `count`, and epsilon is the bound.)
    """
    W, W0 = check_matrix(W), check_matrix(W0)
    if W.shape != W0.shape:
        raise ValueError(f"a weight and what became of it have one shape, got {W0.shape} and {W.shape}")
    before, after = top_directions(W0, min(W0.shape))[0], top_directions(W, count)[0]
    return abs(before.T @ after).max(axis=0)


def amplification(delta_W, W, rank):
    """||delta||_F / ||U^T W V||_F: how much stronger the update is than the weight, in the update's own
    directions. U and V are the top `rank` directions of `delta_W`, delta is `delta_W` truncated to them, and
    W (m, n) is the weight before the update.

    ValueError for two shapes, or if W has nothing in these directions; and what `top_directions` raises.
    (LoRA, 2106.09685, section 7.3, table 7.)
    """
    delta_W, W = check_matrix(delta_W), check_matrix(W)
    if delta_W.shape != W.shape:
        raise ValueError(f"an update has its weight's shape, got {delta_W.shape} and {W.shape}")
    U, V = top_directions(delta_W, rank)
    in_weight = np.linalg.norm(U.T @ W @ V)
    if not in_weight:
        raise ValueError(
            "the weight has nothing in the directions of this update: there is nothing to amplify"
        )
    return float(np.linalg.norm(U.T @ delta_W @ V) / in_weight)


def check_orthonormal(U):
    """Return `U` as a float array, or raise ValueError if its columns are not orthonormal."""
    U = check_matrix(U)
    if not np.allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-3):
        raise ValueError("the columns must be orthonormal: take them from an SVD or a QR decomposition")
    return U


def random_update(like, rank, rng):
    """A random matrix of rank `rank` with the shape and the Frobenius norm of `like`: the control of every
    claim about an update. Its singular values are those of a product of two Gaussian matrices. Raises what
    `check_matrix` and `check_rank` raise.
    """
    like = check_matrix(like)
    check_rank(rank, *like.shape)
    drawn = rng.normal(size=(like.shape[0], rank)) @ rng.normal(size=(rank, like.shape[1]))
    return (drawn * (np.linalg.norm(like) / np.linalg.norm(drawn))).astype(like.dtype)


def train_only_dense(model):
    """Let the dense weights of the blocks ask for a gradient, and nothing else: what LoRA on all linear
    layers adapts. `model` is changed in place and returned.
    """
    model.requires_grad_(False)
    for name in dense_names(model):
        model.get_parameter(name).requires_grad_(True)
    return model


def weight_updates(model):
    """What training changed in each dense weight of the pretrained model, which has become `model`."""
    start = dense_weights(load_gpt2())
    return {name: (W - start[name]).detach().cpu().numpy() for name, W in dense_weights(model).items()}


@torch.no_grad()
def with_updates(updates):
    """A fresh pretrained model with `updates` added to its dense weights."""
    model = load_gpt2()
    for name, W in dense_weights(model).items():
        W += torch.as_tensor(updates[name]).to(W)
    return model


def truncated(updates, rank):
    """Each of `updates` replaced by its best approximation of rank `rank`."""
    return {name: low_rank_approximation(update, rank) for name, update in updates.items()}


@torch.no_grad()
def row_changes(model, base):
    """For each dense matrix of `model`, [how much the lengths of its rows have changed since `base`, how far
    they have turned]: the mean of |new - old| / old, and the mean of 1 - cosine. `model` is merged.
    """
    changes = []
    weights = zip(dense_weights(merge(model)).values(), dense_weights(base).values(), strict=True)
    for new, old in weights:
        longer = (new.norm(dim=1) / old.norm(dim=1) - 1).abs().mean()
        turned = 1 - torch.cosine_similarity(new, old, dim=1).mean()
        changes.append([float(f"{longer:.4g}"), float(f"{turned:.4g}")])
    return changes
