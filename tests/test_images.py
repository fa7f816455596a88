"""Pictures of every mode become the right pixels, and truncated ones are measured right."""

import math
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from lora_lab import images
from lora_lab.images import (
    channels,
    decompose,
    load_picture,
    psnr,
    reconstruct,
    stored_bytes,
    stored_numbers,
    to_grey,
    to_uint8,
)
from lora_lab.low_rank import truncate_svd

GREY = np.array([[0, 10, 20], [200, 128, 255]], dtype=np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def save(picture, path, **options):
    picture.save(path, **options)
    return path


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_grey_pixels_come_back_as_they_are(tmp_path):
    pixels = load_picture(save(Image.fromarray(GREY), tmp_path / "x.png"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GREY)


def test_coloured_pixels_come_back_as_they_are(tmp_path):
    pixels = load_picture(save(Image.fromarray(COLOUR), tmp_path / "x.png"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, COLOUR)


def test_the_path_may_be_a_string(tmp_path):
    path = save(Image.fromarray(GREY), tmp_path / "x.png")
    np.testing.assert_array_equal(load_picture(str(path)), GREY)


def test_transparent_parts_of_a_coloured_picture_become_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128]]], dtype=np.uint8)
    pixels = load_picture(save(Image.fromarray(rgba), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, [[[255, 0, 0], [255, 255, 255], [255, 127, 127]]])


def test_transparent_parts_of_a_grey_picture_become_white_and_it_stays_grey(tmp_path):
    la = np.array([[[40, 255], [40, 0], [0, 51]]], dtype=np.uint8)
    pixels = load_picture(save(Image.fromarray(la), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, [[40, 255, 204]])


def palette_picture():
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return picture


def test_a_palette_becomes_its_colours(tmp_path):
    pixels = load_picture(save(palette_picture(), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])


def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path):
    pixels = load_picture(save(palette_picture(), tmp_path / "x.png", transparency=1))
    np.testing.assert_array_equal(pixels, [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]])


def test_a_transparent_value_of_16_bits_becomes_white(tmp_path):
    grey = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16))
    pixels = load_picture(save(grey, tmp_path / "x.png", transparency=257))
    np.testing.assert_array_equal(pixels, [[0, 255, 255]])


def test_one_bit_becomes_black_and_white(tmp_path):
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1")
    np.testing.assert_array_equal(load_picture(save(bits, tmp_path / "x.png")), [[0, 255], [255, 0]])


def test_sixteen_bits_are_scaled_to_the_nearest_byte(tmp_path):
    values = np.arange(65536).reshape(256, 256)  # 257 k is k, and what lies between goes to the nearer one
    pixels = load_picture(save(Image.fromarray(values.astype(np.uint16)), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, (values + 128) // 257)
    assert (
        pixels.dtype == np.uint8 and pixels[-1, -1] == 255 and (pixels.flatten()[::257] == range(256)).all()
    )


def test_floating_point_is_stretched_from_black_to_white(tmp_path):
    picture = Image.fromarray(np.array([[-1.0, 0.0, 3.0]], dtype=np.float32))
    np.testing.assert_array_equal(load_picture(save(picture, tmp_path / "x.tiff")), [[0, 64, 255]])


def test_a_floating_point_picture_of_one_value_is_black(tmp_path):
    picture = Image.fromarray(np.full((2, 3), 7.0, dtype=np.float32))
    np.testing.assert_array_equal(load_picture(save(picture, tmp_path / "x.tiff")), np.zeros((2, 3)))


def test_a_nan_in_a_floating_point_picture_is_a_value_error(tmp_path):
    picture = Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32))
    with pytest.raises(ValueError, match="row 0, column 1 is nan"):
        load_picture(save(picture, tmp_path / "x.tiff"))


def test_printing_inks_become_red_green_and_blue(tmp_path):
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = load_picture(save(picture, tmp_path / "x.jpg", quality=100))
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=3)


def test_an_orientation_tag_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    path = save(Image.fromarray(GREY), tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(load_picture(path), [[200, 0], [128, 10], [255, 20]])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (1, 5, 3), (5, 1, 3)])
def test_a_picture_one_pixel_wide_or_high_is_loaded_and_reconstructed(tmp_path, shape):
    pixels = load_picture(save(Image.fromarray(noise(*shape)), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, noise(*shape))
    np.testing.assert_array_equal(reconstruct(decompose(pixels), 1), pixels)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        load_picture(tmp_path / "nowhere.png")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.png"):
        load_picture(tmp_path / "folder.png")


@pytest.mark.parametrize("content", [b"", b"not a picture at all", b"%PDF-1.7"])
def test_a_file_that_is_no_picture_is_a_value_error_that_names_it(tmp_path, content):
    (tmp_path / "text.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"text\.png cannot be read as a picture"):
        load_picture(tmp_path / "text.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tiff", "webp"])
def test_a_truncated_file_is_a_value_error_that_names_it(tmp_path, ending):
    path = save(Image.fromarray(noise(40, 50, 3)), tmp_path / f"half.{ending}")
    load_picture(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"half\.{ending} cannot be read as a picture"):
        load_picture(path)


def png_header(width, height):
    """The beginning of a grey PNG that claims this size and holds no pixels."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def test_an_absurdly_large_picture_is_refused_before_its_pixels_are_read(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(100_000, 100_000))
    with pytest.raises(ValueError, match=r"huge\.png .*pixels"):
        load_picture(path)


@pytest.mark.filterwarnings("error")
def test_the_largest_picture_allowed_is_not_scaled(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 12)
    pixels = load_picture(save(Image.fromarray(noise(3, 4)), tmp_path / "x.png"))
    np.testing.assert_array_equal(pixels, noise(3, 4))


@pytest.mark.parametrize("shape", [(40, 90), (40, 90, 3)])
def test_a_larger_picture_is_scaled_down_and_says_so(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(images, "MOST_PIXELS", 900)
    half_dark = np.zeros(shape, dtype=np.uint8)
    half_dark[:, 45:] = 200
    said = r"x\.png has 90 x 40 pixels, more than 900, so it was scaled down to 45 x 20"
    with pytest.warns(UserWarning, match=said) as warned:
        pixels = load_picture(save(Image.fromarray(half_dark), tmp_path / "x.png"))
    assert warned[0].filename == __file__
    assert pixels.shape == (20, 45, *shape[2:])
    assert (pixels[:, :18] == 0).all() and (pixels[:, 27:] == 200).all()


def test_a_scaled_picture_keeps_at_least_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 900)
    with pytest.warns(UserWarning, match="scaled down"):
        assert load_picture(save(Image.fromarray(noise(1, 2_000)), tmp_path / "x.png")).shape[0] == 1


@pytest.mark.parametrize("shape", [(12, 9), (9, 12, 3)])
def test_full_rank_reconstructs_the_original_exactly(shape):
    pixels = noise(*shape)
    restored = reconstruct(decompose(pixels), 9)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, pixels)


def test_each_colour_is_truncated_by_itself():
    pixels = noise(9, 12, 3)
    restored = reconstruct(decompose(pixels), 2)
    assert (restored != pixels).any()
    for c in range(3):
        np.testing.assert_array_equal(restored[..., c], reconstruct(decompose(pixels[..., c]), 2))


def test_what_overshoots_is_clipped_and_does_not_wrap():
    np.testing.assert_array_equal(to_uint8([-3.7, 0.4, 2.6, 254.6, 256.0, 300.0]), [0, 0, 3, 255, 255, 255])


def test_a_truncated_picture_that_overshoots_is_clipped():
    pixels = np.where(np.tri(16, dtype=bool), 255, 0).astype(np.uint8)
    [(U, s, Vt)] = decompose(pixels)
    B, A = truncate_svd(U, s, Vt, 3)
    exact = B @ A
    assert exact.max() > 256 and exact.min() < -1
    restored = reconstruct([(U, s, Vt)], 3)
    assert (restored[exact > 255] == 255).all() and (restored[exact < 0] == 0).all()


@pytest.mark.parametrize(("rank", "kind"), [(0, ValueError), (10, ValueError), (2.0, TypeError)])
def test_a_bad_rank_is_refused_by_name(rank, kind):
    pixels = noise(9, 12, 3)
    for use in (lambda: reconstruct(decompose(pixels), rank), lambda: stored_numbers(pixels, rank)):
        with pytest.raises(kind, match=f"rank must be .* got {rank}"):
            use()


def test_psnr_by_hand():
    original = np.array([[100, 100], [100, 100]], dtype=np.uint8)
    one_off = original + np.array([[10, 0], [0, 0]], dtype=np.uint8)  # mean squared error 25
    assert psnr(original, one_off) == pytest.approx(10 * math.log10(255**2 / 25))


def test_psnr_uses_the_peak_of_a_byte_and_not_of_the_picture():
    dark = np.full((4, 4), 5, dtype=np.uint8)
    bright = np.full((4, 4), 250, dtype=np.uint8)
    assert psnr(dark, dark + 1) == psnr(bright, bright + 1) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_does_not_wrap_around_in_a_byte():
    black, grey = np.zeros((4, 4), dtype=np.uint8), np.full((4, 4), 30, dtype=np.uint8)
    assert psnr(black, grey) == psnr(grey, black) == pytest.approx(20 * math.log10(255 / 30))


def test_psnr_takes_another_peak():
    assert psnr(np.zeros((2, 2)), np.full((2, 2), 0.1), peak=1) == pytest.approx(20)


def test_psnr_of_equal_pictures_is_infinite():
    assert psnr(GREY, GREY.copy()) == math.inf


def test_psnr_of_two_shapes_is_a_value_error_that_names_both():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 3, 3\)"):
        psnr(GREY, COLOUR)


def test_more_rank_is_never_worse():
    pixels = noise(20, 30, 3)
    svds = decompose(pixels)
    values = [psnr(pixels, reconstruct(svds, rank)) for rank in (1, 5, 10, 20)]
    assert values == sorted(values) and values[-1] == math.inf


def test_grey_is_the_weighting_of_pillow():
    pixels = noise(10, 12, 3)
    difference = to_grey(pixels).astype(int) - np.asarray(Image.fromarray(pixels).convert("L"))
    assert abs(difference).max() <= 1
    np.testing.assert_array_equal(
        to_grey(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])), [[76, 150, 29]]
    )


def test_grey_pixels_are_grey_already():
    assert to_grey(GREY) is GREY


def test_a_grey_picture_is_one_matrix_and_a_coloured_one_three():
    assert len(channels(GREY)) == 1
    np.testing.assert_array_equal(np.stack(channels(COLOUR), axis=2), COLOUR)


@pytest.mark.parametrize(("shape", "numbers"), [((512, 600), 306_912), ((512, 600, 3), 920_736)])
def test_numbers_stored_at_the_break_even_rank(shape, numbers):
    pixels = np.zeros(shape, dtype=np.uint8)
    assert stored_numbers(pixels, 276) == numbers
    assert stored_numbers(pixels, 276) < pixels.size < stored_numbers(pixels, 277)


def test_the_numbers_stored_are_those_in_the_factors():
    pixels = noise(9, 12, 3)
    factors = [truncate_svd(*svd, 2) for svd in decompose(pixels)]
    assert stored_numbers(pixels, 2) == sum(B.size + A.size for B, A in factors)


def test_in_bytes_a_picture_breaks_even_at_a_quarter_of_that_rank():
    pixels = np.zeros((512, 600), dtype=np.uint8)
    assert stored_bytes(pixels, 69) < pixels.nbytes < stored_bytes(pixels, 70)
    assert stored_bytes(pixels, 69) == np.zeros(stored_numbers(pixels, 69), dtype=np.float32).nbytes


def test_a_scaled_picture_is_as_large_as_it_may_be():
    with pytest.warns(UserWarning, match="scaled down"):
        smaller = images.scaled_down(np.zeros((300, 40), np.uint8), 1000, "a picture")
    assert smaller.shape == (86, 11)  # 300 x 40 times the root of 1,000 / 12,000


def test_floating_point_of_a_small_range_fills_all_greys(tmp_path):
    values = np.array([[0.0, 0.75, 1.0]], np.float32) / 1000
    path = save(Image.fromarray(values), tmp_path / "small.tiff")
    assert load_picture(path).tolist() == [[0, 191, 255]]


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((3, 2), (2, 3))])
def test_psnr_refuses_two_shapes_in_either_order(shapes):
    with pytest.raises(ValueError, match="one shape"):
        psnr(*map(np.zeros, shapes))


def test_a_million_pixels_are_not_too_many_and_one_more_is(tmp_path):
    with warnings.catch_warnings(action="error"):
        load_picture(save(Image.new("L", (1_000, 1_000)), tmp_path / "x.png"))
    path = save(Image.new("L", (101, 9_901)), tmp_path / "y.png")
    with pytest.warns(UserWarning, match="has 101 x 9901 pixels, more than 1,000,000"):
        load_picture(path)


@pytest.mark.parametrize("values, pixels", [([0, 65535], [0, 255]), ([257, 514], [1, 2])])
def test_whole_numbers_of_16_bits_are_not_stretched(values, pixels):
    picture = Image.fromarray(np.array([values], dtype=np.int32))
    assert images.picture_to_pixels(picture).tolist() == [pixels]


@pytest.mark.parametrize("values", [[-1, 5], [0, 65536]])
def test_whole_numbers_beyond_16_bits_are_refused(values):
    with pytest.raises(ValueError, match="16 bits hold 0 to 65535"):
        images.picture_to_pixels(Image.fromarray(np.array([values], dtype=np.int32)))


def test_one_floating_point_number_everywhere_is_black():
    picture = Image.fromarray(np.full((2, 2), -5, dtype=np.float32))
    with warnings.catch_warnings(action="error"):
        assert not images.picture_to_pixels(picture).any()


def test_equal_pictures_need_no_division_by_zero():
    pixels = np.zeros((2, 2), dtype=np.uint8)
    with warnings.catch_warnings(action="error"):
        assert images.psnr(pixels, pixels) == math.inf
