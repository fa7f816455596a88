"""Bad input gets the right answer, or one clear sentence: pictures of every kind that Pillow writes, cut,
spoilt and gigantic. CASES states how many are tried, here and of adapters in test_bad_adapters.py.

Not among the cut ones: JPEG 2000, cut before its first tile, PCX, cut before its palette, and DDS, cut
anywhere, are no error to some versions of Pillow.
"""

import io
import os
import struct
import sys
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from test_images import png_header

from lora_lab.adapters import load_adapter
from lora_lab.gpt2 import random_gpt2
from lora_lab.images import load_picture

CASES = {  # those with "+" depend on the version of Pillow, and are at least so many
    "pictures of every mode and format": "150+",
    "cut pictures": "5000+",
    "spoilt pictures": 3000,
    "bombs": 12,
    "names": 13,
    "numbers beyond all": 4,
    "cut weights": 600,
    "cut settings": 345,
    "flipped headers": 344,
    "foreign adapters": 23,
}
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "F", "I;16", "I;16B", "I;16L", "I;16N"),
)
EXACT = ("PNG", "BMP", "TIFF", "TGA", "ICO", "PPM", "QOI", "SGI")  # 1, L, RGB come back as they are
FORMATS = (*EXACT, "JPEG", "WEBP", "GIF")  # whose decoders miss no cut
HIGH, WIDE = 7, 9
NOISE = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)


def count(group, number):
    stated = CASES[group]
    assert number >= int(stated[:-1]) if isinstance(stated, str) else number == stated, (group, number)


def assert_a_sentence(message, *named):
    """One line of a length to read, that is no dump and says what it is about."""
    assert message.isprintable() and 20 < len(message) < 500, message
    assert "Traceback" not in message and not message.endswith((":", ": ")), message
    assert all(name in message for name in named), message


def noise(mode):
    picture = Image.fromarray(NOISE)
    if mode in ("1", "L", "P", "I", "F", "I;16"):
        return picture.convert("L").convert(mode)
    picture = Image.new(mode, (WIDE, HIGH))
    picture.frombytes(np.resize(NOISE, len(picture.tobytes())).tobytes())
    return picture


def written(mode, kind, **options):
    """The bytes of a file of this kind, None if Pillow does not write this mode in it."""
    file = io.BytesIO()
    try:
        noise(mode).save(file, kind, **options)
    except (KeyError, OSError, ValueError):  # KeyError: this Pillow does not know the format
        return None
    return file.getvalue()


def all_written(kinds):
    files = {(mode, kind): written(mode, kind) for kind in kinds for mode in MODES}
    files["progressive", "JPEG"] = written("RGB", "JPEG", progressive=True)
    for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files[how, "TIFF"] = written("RGB", "TIFF", compression=how)
    return {name: content for name, content in files.items() if content}


def readable(content):
    """Whether Pillow reads what it wrote: a PDF never, and older versions no ICO of one bit."""
    try:
        return Image.open(io.BytesIO(content)).load() is not None
    except Exception:
        return False


def loaded(content, path):
    """The pixels, or None if one sentence refuses them; no warning but that of a large picture."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*so it was scaled down to")
        try:
            pixels = load_picture(path)
        except ValueError as error:
            return assert_a_sentence(str(error), f"{path.name} cannot be read as a picture: ")
    assert pixels.dtype == np.uint8 and pixels.size and pixels.ndim in (2, 3)
    assert pixels.shape[2:] in ((), (3,))
    return pixels


def test_every_mode_in_every_format_is_loaded_or_refused_in_a_sentence(tmp_path):
    Image.init()
    files = all_written([*Image.SAVE])
    exact = []
    for (mode, kind), content in files.items():
        pixels = loaded(content, tmp_path / "picture")
        assert pixels is not None or not readable(content), (mode, kind)
        if pixels is not None and kind != "ICNS":
            assert pixels.shape[:2] == (HIGH, WIDE), (mode, kind)
        if mode in ("1", "L", "RGB") and kind in EXACT and pixels is not None:
            np.testing.assert_array_equal(pixels, noise(mode).convert("RGB" if mode == "RGB" else "L"))
            exact.append(kind)
    assert len(exact) > 15
    count("pictures of every mode and format", len(files))


def test_a_picture_cut_at_every_byte_is_whole_or_refused(tmp_path):
    cuts = refused = 0
    for (mode, kind), content in all_written(FORMATS).items():
        if mode in MODES and mode != "RGB":
            continue
        whole = loaded(content, tmp_path / "whole")
        for place in range(len(content)):
            pixels = loaded(content[:place], tmp_path / "cut.png")
            refused += pixels is None
            assert pixels is None or np.array_equal(pixels, whole), (mode, kind, place)
        cuts += len(content)
    assert refused > 0.8 * cuts
    count("cut pictures", cuts)


def test_a_picture_with_spoilt_bytes_is_loaded_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # what a spoilt size may cost
    chance, files, answers = np.random.default_rng(0), [*all_written(FORMATS).values()], []
    for i in range(3000):
        content = bytearray(files[i % len(files)])
        for _ in range(chance.integers(1, 4)):
            content[chance.integers(min(len(content), [40, 200, 10**6][i % 3]))] = chance.integers(256)
        answers.append(loaded(bytes(content), tmp_path / "spoilt"))
    assert 750 < sum(pixels is None for pixels in answers) < 2250
    count("spoilt pictures", len(answers))


# Pictures that claim to be gigantic, or are nothing to read


def png_of(*chunks, size=(1, 1)):
    """A PNG of this size with these (name, content) before its pixels."""
    start, middle = png_header(*size)[:33], b""
    for name, content in (*chunks, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        middle += struct.pack(">I", len(content)) + name + content + checksum
    return start + middle


def bmp_of(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff_of(width, height):
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 1)]
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)


ZEROS = zlib.compress(bytes(50_000_000), 9)
BOMBS = {
    "PNG": png_header(100_000, 100_000),
    "PNG of the largest sides": png_header(2**31 - 1, 2**31 - 1),
    "PNG with zTXt": png_of((b"zTXt", b"a\0\0" + ZEROS)),
    "PNG with iTXt": png_of((b"iTXt", b"a\0\1\0\0\0" + ZEROS)),
    "PNG with a hundred zTXt": png_of(*[(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))] * 100),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
    "BMP": bmp_of(100_000, 100_000),
    "BMP of negative sides": bmp_of(-5, -5),
    "BMP upside down": bmp_of(100_000, -100_000),
    "TIFF": tiff_of(100_000, 100_000),
    "TIFF of the largest sides": tiff_of(2**32 - 1, 2**32 - 1),
    "PPM": b"P6 99999 99999 255\n" + bytes(9),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_and_without_memory(name, tmp_path):
    count("bombs", len(BOMBS))
    tracemalloc.start()
    began = time.process_time()
    pixels = loaded(BOMBS[name], tmp_path / "bomb")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pixels is None and time.process_time() - began < 2 and peak < 80_000_000


def refused(use, *arguments, kind):
    with pytest.raises(kind) as caught:
        use(*arguments)
    return str(caught.value)


def test_what_is_no_file_is_refused_by_name_and_a_wrong_suffix_is_no_hindrance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder.png")
    names = ["missing.png", "folder.png", "a" * 300, "x/y.png"]
    if sys.platform != "win32":  # which has no pipes in folders, and asks for a right to make links
        os.mkfifo("pipe.png")
        os.symlink("nowhere", "dangling.png")
        os.symlink("circle.png", "circle.png")
        names += ["pipe.png", "dangling.png", "circle.png"]
    for name in names:
        assert_a_sentence(refused(load_picture, name, kind=FileNotFoundError), name)
    refused(load_picture, "a\0b.png", kind=FileNotFoundError)
    refused(load_picture, "", kind=FileNotFoundError)
    wrong = [None, 3, ["x.png"], b"x.png"]
    for value in wrong:
        for use in (load_picture, lambda value: load_adapter(random_gpt2(), value)):
            assert_a_sentence(refused(use, value, kind=TypeError), "str")
    count("names", len(names) + 2 + len(wrong))
    for name in ("a" * 300, "a\0b"):
        refused(load_adapter, random_gpt2(), name, kind=FileNotFoundError)
    for suffix in ("png", "jpg", "txt", "x.y", ""):
        for kind in ("PNG", "JPEG"):
            pixels = loaded(written("RGB", kind), tmp_path / f"picture.{suffix}")
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(written("RGB", kind)))))


def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied", "mine.png")

    (tmp_path / "mine.png").write_bytes(written("L", "PNG"))
    monkeypatch.setattr(Image, "open", forbidden)
    message = refused(load_picture, tmp_path / "mine.png", kind=ValueError)
    assert_a_sentence(message, "mine.png cannot be read", "Permission denied")


@pytest.mark.parametrize("error", [MemoryError(), EOFError(), zlib.error("bad"), struct.error("short")])
def test_whatever_a_decoder_raises_the_file_is_named(error, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_: (_ for _ in ()).throw(error))
    (tmp_path / "x.png").write_bytes(b"")
    message = refused(load_picture, tmp_path / "x.png", kind=ValueError)
    assert_a_sentence(message, "x.png cannot be read as a picture: ", str(error) or type(error).__name__)


def test_numbers_no_byte_can_show_are_stretched_or_refused(tmp_path):
    tried = {
        np.float32: {(-3e38, 1e38, 3e38): [0, 170, 255], (0, 2e-40, 3e-40): [0, 170, 255]},
        np.int32: {(-1, 0, 9): "-1 to 9", (0, 5, 65536): "0 to 65536"},
    }
    for kind, rows in tried.items():
        for row, expected in rows.items():
            Image.fromarray(np.array([row], kind)).save(tmp_path / "x.tiff")
            if isinstance(expected, list):
                assert load_picture(tmp_path / "x.tiff").tolist() == [expected]
            else:
                message = refused(load_picture, tmp_path / "x.tiff", kind=ValueError)
                assert_a_sentence(message, "x.tiff", "16 bits hold 0 to 65535", expected)
    count("numbers beyond all", sum(map(len, tried.values())))
