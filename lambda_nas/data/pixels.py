"""Turns an image file into pixels of 8 bits, or says why it can't be read."""

import contextlib
import io
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Above this number Pillow, too, warns of a decompression bomb.
PIXELS_LIMIT = 2**30 // 4 // 3
# What so many pixels of four channels of 16 bits take.
BYTES_LIMIT = 8 * PIXELS_LIMIT


class UnreadableError(Exception):
    """A file does not hold an image that we read; the message is the reason."""


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, and never wait for a pipe or a device.

    Raises:
        UnreadableError: If it is not a file, or far larger than an image.
        OSError: If it can't be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a file")
    if not status.st_size:
        raise UnreadableError("empty")
    if status.st_size > BYTES_LIMIT:
        raise UnreadableError(f"{status.st_size:,} bytes; at most {BYTES_LIMIT:,} are read")
    return path.read_bytes()


def decode_image(content: bytes, mode: str, size: tuple[int, int]) -> Image.Image:
    """Decode the first image of a file as a viewer shows it, turned as its EXIF data say.

    Args:
        content: The bytes of the file.
        mode: Pillow's mode of the result, ``L`` or ``RGB``; transparency is dropped.
        size: Height and width that the image will be resized to along its short side.

    Raises:
        UnreadableError: If the image has too many pixels, or values without a known range.
        Exception: Whatever Pillow raises for a broken file.
    """
    with Image.open(io.BytesIO(content)) as image:
        _check_size(image, size)
        image.load()
        # EXIF data may be broken where the pixels are not.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
        return _scale_to_8_bits(image).convert(mode)


def explain(error: Exception) -> str:
    """Return the reason why a file can't be read, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _check_size(image: Image.Image, size: tuple[int, int]) -> None:
    short, long = sorted(image.size)
    # Resizing a long strip multiplies its pixels: 60,000 x 1 become 13 million x 224.
    for pixels, when in ((short * long, ""), (size[0] * size[1] * long // short, " when resized")):
        if pixels > PIXELS_LIMIT:
            raise UnreadableError(
                f"{image.width} x {image.height} are {pixels:,} pixels{when}; "
                f"at most {PIXELS_LIMIT:,} are read"
            )


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale integers of 16 bits and fractions, which Pillow would clip at 255."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise UnreadableError("floating-point pixels outside 0 to 1")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableError("integer pixels of more than 16 bits")
        # As Pillow reads color images of 16 bits.
        return Image.fromarray((values >> 8).astype(np.uint8))
    return image
