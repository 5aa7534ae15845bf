"""Decodes images in threads into one uint8 tensor."""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from timm.data.model_config import resolve_input_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from lambda_nas.data.files import escape_line, name_some
from lambda_nas.data.image_set import ImageSet
from lambda_nas.data.listing import UNREADABLE_LIMIT, Listing
from lambda_nas.data.pixels import decode_image, explain, read_file
from lambda_nas.errors import InputError

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images that could be read, in the order requested.

    Attributes:
        images: The readable images.
        readable: Whether each requested image is readable, ``[requested]``, bool.
        fingerprint: Hash of the bytes of each image, or of its being unreadable, and the labels.
        notes: Messages for the user.
    """

    images: ImageSet
    readable: Tensor
    fingerprint: str
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
    hashes = [b""] * len(indices)
    unreadable: dict[int, str] = {}

    def read(position: int) -> None:
        try:
            content = read_file(listing.path(int(indices[position])))
            image = decode_image(content, MODES[channels], (height, width))
        # On a broken file Pillow's decoders raise anything from OSError to SyntaxError.
        except Exception as error:
            unreadable[position] = explain(error)
            return
        # An error from here on is not the file's fault.
        images[position] = transform(image)
        hashes[position] = hashlib.sha256(content).digest()

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow warns of oddities of single files.
        warnings.simplefilter("ignore")
        for done, _ in enumerate(pool.map(read, range(len(indices))), 1):
            if on_image:
                on_image(done, len(indices))
    notes = _report(listing, indices, unreadable)
    labels = listing.labels[indices]
    fingerprint = _fingerprint(hashes, labels)
    readable = torch.ones(len(indices), dtype=torch.bool)
    readable[list(unreadable)] = False
    if unreadable:
        images, labels = images[readable], labels[readable]
    mean, std = (_per_channel(config[key], channels) for key in ("mean", "std"))
    return Decoded(ImageSet(images, labels, mean, std), readable, fingerprint, notes)


def _fingerprint(hashes: list[bytes], labels: Tensor) -> str:
    digest = hashlib.sha256()
    for content, label in zip(hashes, labels.tolist(), strict=True):
        digest.update(f"{content.hex()} {label}\n".encode())
    return digest.hexdigest()


def _report(listing: Listing, indices: Tensor, unreadable: dict[int, str]) -> tuple[str, ...]:
    if not unreadable:
        return ()
    reasons = {int(indices[position]): reason for position, reason in unreadable.items()}
    names = name_some(
        [f"{listing.filename(index)} ({reasons[index]})" for index in sorted(reasons)]
    )
    count = f"{len(unreadable)} of {len(indices)} images"
    if len(unreadable) > UNREADABLE_LIMIT * len(indices):
        raise InputError(f"can't read {count}: {names}", parameter="data", value=listing.root)
    root = escape_line(str(listing.root))
    return (f"skipped unreadable images, {count} below {root}: {names}",)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (values[0],) * channels
