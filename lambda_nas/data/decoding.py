"""Decodes images in threads into one uint8 tensor."""

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from PIL import Image
from timm.data.model_config import resolve_input_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from lambda_nas.data.files import name_some
from lambda_nas.data.image_set import ImageSet
from lambda_nas.data.listing import UNREADABLE_LIMIT, Listing
from lambda_nas.errors import InputError

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images that could be read, in the order requested.

    Attributes:
        images: The readable images.
        readable: Whether each requested image is readable, ``[requested]``, bool.
        notes: Messages for the user.
    """

    images: ImageSet
    readable: Tensor
    notes: tuple[str, ...]

    def before(self, position: int) -> int:
        """Return how many of the first ``position`` requested images could be read."""
        return int(self.readable[:position].sum())


def decode(
    listing: Listing,
    indices: Tensor,
    model: nn.Module,
    on_image: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode, resize and crop images as timm does to evaluate this model.

    Args:
        listing: The images of a folder.
        indices: Indices of the images to read, in this order, ``[images]``, int64.
        model: The model, whose config gives size, crop, interpolation and normalization.
        on_image: Called with the number of images done and the total.

    Raises:
        InputError: If more than a tenth of the images can't be read.
    """
    config = resolve_input_data_config(model)
    channels, height, width = config["input_size"]
    if channels not in MODES:
        raise InputError(f"the model takes images of {channels} channels; supported: 1 and 3")
    # With timm's prefetcher setting the result is uint8; batches are normalized when drawn.
    transform = create_transform(**config, is_training=False, use_prefetcher=True)
    images = torch.empty(len(indices), channels, height, width, dtype=torch.uint8)
    readable = torch.ones(len(indices), dtype=torch.bool)
    reading = threading.Lock()

    def read(position: int) -> None:
        try:
            with reading:
                path = listing.path(int(indices[position]))
                if not path.is_file():
                    raise OSError("not a file")
                content = path.read_bytes()
            image = _decode_one(content, MODES[channels])
        # On a broken file Pillow's decoders raise anything from OSError to SyntaxError.
        except Exception:
            readable[position] = False
            return
        # An error from here on is not the file's fault.
        images[position] = transform(image)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(read, range(len(indices))), 1):
            if on_image:
                on_image(done, len(indices))
    notes = _report(listing, indices[~readable], len(indices))
    labels = listing.labels[indices]
    if notes:
        images, labels = images[readable], labels[readable]
    mean, std = (_per_channel(config[key], channels) for key in ("mean", "std"))
    return Decoded(ImageSet(images, labels, mean, std), readable, notes)


def _decode_one(content: bytes, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert(mode)


def _report(listing: Listing, unreadable: Tensor, total: int) -> tuple[str, ...]:
    if not len(unreadable):
        return ()
    names = name_some([listing.filename(int(index)) for index in unreadable])
    count = f"{len(unreadable)} of {total} images"
    if len(unreadable) > UNREADABLE_LIMIT * total:
        raise InputError(f"can't read {count}: {names}", parameter="data", value=listing.root)
    return (f"skipped unreadable images, {count} below {listing.root}: {names}",)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (values[0],) * channels
