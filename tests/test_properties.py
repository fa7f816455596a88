"""The numeric core on inputs that nobody chose: hypothesis draws shapes from 1 x 1, zeros, rank-deficient,
huge and tiny numbers in several precisions. Right is what numpy and algebra say; the rest is refused in a
sentence.
"""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from torch import nn

from lora_lab.images import decompose, psnr, reconstruct, to_uint8
from lora_lab.lora import LinearWithLoRA
from lora_lab.low_rank import check_matrix, eckart_young_error, energy, low_rank_approximation, numerical_rank
from lora_lab.quantization import (
    NF4,
    dequantize,
    dequantize_scales,
    pack,
    quantize,
    quantize_scales,
    unpack,
)

many = settings(max_examples=200, deadline=None, derandomize=True)  # the same 200 in every run
sides = st.integers(1, 12)
sizes = st.floats(-250, 250).map(lambda power: 10.0**power)


@st.composite
def matrices(draw, dtypes=(np.float16, np.float32, np.float64, np.int8)):
    """A matrix of any rank from 0, of entries near 1 in its precision."""
    rows, columns, dtype = draw(sides), draw(sides), draw(st.sampled_from(dtypes))
    rank = draw(st.integers(0, min(rows, columns)))
    factors = [
        draw(drawn.arrays(np.int8, shape, elements=st.integers(-3, 3)))
        for shape in ((rows, rank), (rank, columns))
    ]
    return (factors[0].astype(float) @ factors[1].astype(float)).clip(-100, 100).astype(dtype)


@many
@given(matrices(), st.data())
def test_the_error_of_a_cut_is_what_its_singular_values_say(M, data):
    rank = data.draw(st.integers(1, min(M.shape)))
    found = low_rank_approximation(M, rank)
    s = np.linalg.svd(check_matrix(M), compute_uv=False)
    eps = 100 * np.finfo(check_matrix(M).dtype).eps * max(s[0], 1)
    assert found.shape == M.shape and np.linalg.matrix_rank(found) <= rank
    for norm, order in (("frobenius", "fro"), ("spectral", 2)):
        error = np.linalg.norm(check_matrix(M) - found, order)
        assert abs(error - eckart_young_error(s, rank, norm)) <= eps


@many
@given(matrices())
def test_the_rank_is_numpys(M):
    assert numerical_rank(M) == np.linalg.matrix_rank(check_matrix(M))


@many
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), sizes)
def test_energy_and_error_do_not_depend_on_the_size_of_the_numbers(values, size):
    s = np.sort(values)[::-1]
    assume(s[0] > 0.01)
    shares = energy(s * size)
    assert np.all(np.diff(shares) >= 0) and shares[-1] == pytest.approx(1)
    assert shares == pytest.approx(energy(s), rel=1e-9, abs=1e-12)
    for rank in range(len(s) + 1):
        assert eckart_young_error(s * size, rank) == pytest.approx(
            eckart_young_error(s, rank) * size, rel=1e-9
        )


@many
@given(matrices((np.float64,)), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_number_that_is_none_is_refused_with_its_place(M, wrong, data):
    row, column = (data.draw(st.integers(0, side - 1)) for side in M.shape)
    M[row, column] = wrong
    with pytest.raises(ValueError, match=f"row {row}, column {column} is"):
        check_matrix(M)
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantize(torch.tensor(M))


weights = st.tuples(
    drawn.array_shapes(min_dims=1, max_dims=3, max_side=9),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from([0.0, 1e-4, 1.0, 1e4]),
    st.integers(0, 2**31),
)


@many
@given(weights, st.integers(1, 100))
def test_a_rounded_weight_is_within_half_a_gap_of_its_block(weight, block):
    shape, dtype, size, seed = weight
    W = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size).to(dtype)
    codes, absmax = quantize(W, NF4, block)
    back = dequantize(codes, absmax, NF4, block)
    scales = absmax.repeat_interleave(block)[: W.numel()]
    assert codes.max() <= 15 and len(codes) == W.numel()
    assert ((back - W.float().flatten()).abs() <= scales * (NF4.diff().max() / 2 + 1e-6)).all()
    assert torch.equal(unpack(pack(codes), len(codes)), codes)


@many
@given(st.integers(1, 700), st.sampled_from([1e-6, 1.0, 1e6]), st.integers(0, 2**31))
def test_scales_in_eight_bits_come_back_to_about_a_hundredth(n, size, seed):
    absmax = torch.rand(n, generator=torch.Generator().manual_seed(seed)) * size
    back = dequantize_scales(*quantize_scales(absmax))
    assert torch.isfinite(back).all() and (back - absmax).abs().max() <= 0.01 * size


@many
@given(sides, sides, st.integers(1, 12), st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_a_layer_with_lora_is_the_dense_layer_of_the_sum(inputs, outputs, rank, alpha, seed):
    torch.manual_seed(seed)
    base = nn.Linear(inputs, outputs).double()
    if rank > min(inputs, outputs):
        with pytest.raises(ValueError, match=f"got {rank}$"):
            LinearWithLoRA(base, rank, alpha)
        assert all(parameter.requires_grad for parameter in base.parameters())
        return
    layer = LinearWithLoRA(base, rank, alpha)
    nn.init.normal_(layer.lora.B)
    x = torch.randn(3, inputs).double()
    summed = x @ (base.weight + alpha / rank * layer.lora.B @ layer.lora.A).T + base.bias
    torch.testing.assert_close(layer(x), summed)


@many
@given(
    drawn.arrays(np.uint8, st.one_of(st.tuples(sides, sides), st.tuples(sides, sides, st.just(3)))), st.data()
)
def test_a_picture_at_full_rank_is_itself_and_never_wraps(pixels, data):
    full = min(pixels.shape[:2])
    assert np.array_equal(reconstruct(decompose(pixels), full), pixels)
    assert psnr(pixels, pixels) == np.inf
    rank = data.draw(st.integers(1, full))
    cut = reconstruct(decompose(pixels), rank)
    assert cut.shape == pixels.shape and cut.dtype == np.uint8
    near = low_rank_approximation(pixels[..., 0] if pixels.ndim == 3 else pixels, rank)
    assert np.abs(to_uint8(near).astype(float) - near.clip(0, 255)).max() <= 0.5 + 1e-9
