import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lambda_nas.data.pixels import UnreadableError, decode_image, explain, read_file

RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
SIZE = (224, 224)


def write(pixels, suffix, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, suffix, **options)
    return stream.getvalue()


def png(width, height, *, bits, color, rows):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("pixels", "suffix"),
    [
        (RAMP, "PNG"),
        (RAMP, "TIFF"),
        (RAMP.astype(">u2"), "TIFF"),
        (RAMP.astype(np.int32), "TIFF"),
        ((RAMP / 65535).astype(np.float32), "TIFF"),
    ],
)
def test_gray_values_are_scaled_to_8_bits(pixels, suffix, mode):
    image = decode_image(write(pixels, suffix), mode, SIZE)
    assert image.mode == mode
    values = np.asarray(image).reshape(256, -1)
    assert np.array_equal(values, np.repeat(np.arange(256)[:, None], values.shape[1], axis=1))


def test_gray_and_color_of_16_bits_agree():
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.repeat(RAMP, 3, axis=1))
    color = decode_image(png(16, 16, bits=16, color=2, rows=rows), "RGB", SIZE)
    gray = decode_image(write(RAMP, "PNG"), "RGB", SIZE)
    assert np.array_equal(np.asarray(color), np.asarray(gray))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (70_000, np.int32, "integer pixels of more than 16 bits"),
        (-1, np.int32, "integer pixels of more than 16 bits"),
        (1.5, np.float32, "floating-point pixels outside 0 to 1"),
        (np.nan, np.float32, "floating-point pixels outside 0 to 1"),
    ],
)
def test_values_without_a_known_range_are_refused(value, dtype, message):
    with pytest.raises(UnreadableError, match=message):
        decode_image(write(np.full((4, 4), value, dtype), "TIFF"), "RGB", SIZE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "dtype"), [("PNG", np.uint8), ("PNG", np.uint16), ("TIFF", np.uint16)]
)
def test_images_are_turned_as_a_viewer_shows_them(orientation, suffix, dtype):
    seen = np.arange(6, dtype=dtype).reshape(2, 3) * (1 if dtype == np.uint8 else 257)
    # What is stored for each way of holding the camera.
    stored = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.T,
        6: np.rot90(seen, 1),
        7: seen[::-1, ::-1].T,
        8: np.rot90(seen, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = write(np.ascontiguousarray(stored), suffix, exif=exif)
    image = np.asarray(decode_image(content, "L", SIZE))
    assert np.array_equal(image, np.arange(6).reshape(2, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\xff", b"no TIFF at all", b"II"])
def test_broken_exif_data_do_not_make_an_image_unreadable(exif):
    pixels = np.full((8, 8, 3), 90, np.uint8)
    content = write(pixels, "JPEG", exif=b"Exif\0\0" + exif)
    assert np.array_equal(np.asarray(decode_image(content, "RGB", SIZE)), pixels)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("LA", (2, 2), (40, 0)), (40, 40, 40)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (10, 20, 30)),
        (Image.new("RGB", (2, 2), (10, 20, 30)).quantize(2), (10, 20, 30)),
    ],
)
def test_other_modes_keep_their_color_and_lose_transparency(image, expected):
    pixels = decode_image(write(image, "PNG"), "RGB", SIZE)
    assert pixels.getpixel((0, 0)) == expected


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (60_000, 1, r"60000 x 1 are 3,010,560,000 pixels when resized; at most 89,478,485"),
        (1, 60_000, r"1 x 60000 are 3,010,560,000 pixels when resized"),
        (12_000, 12_000, r"12000 x 12000 are 144,000,000 pixels; at most"),
        (30_000, 30_000, r"exceeds limit of .* pixels"),
    ],
)
def test_decompression_bombs_are_refused_before_they_are_decoded(width, height, message):
    # Its rows are missing: decoding it would end in another error.
    bomb = png(width, height, bits=8, color=2, rows=b"")
    with pytest.raises((UnreadableError, Image.DecompressionBombError), match=message):
        decode_image(bomb, "RGB", SIZE)


def test_files_far_larger_than_an_image_are_not_read(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(UnreadableError, match="1,099,511,627,776 bytes; at most 715,827,880"):
        read_file(tmp_path / "sparse.png")


def test_reasons_name_no_object_and_no_path(tmp_path):
    reasons = []
    (tmp_path / "text.png").write_text("text")
    for name in ("absent.png", "text.png"):
        try:
            decode_image(read_file(tmp_path / name), "RGB", SIZE)
        except Exception as error:
            reasons.append(explain(error))
    assert reasons == ["No such file or directory", "not an image"]
