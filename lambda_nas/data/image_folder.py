"""Loads the images of a folder, those of a study or all that a model is evaluated on."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lambda_nas.data.classes import ClassOrder
from lambda_nas.data.decoding import decode
from lambda_nas.data.image_set import ImageSet
from lambda_nas.data.layout import find_layout
from lambda_nas.data.listing import list_images
from lambda_nas.data.selection import ImageData, ImageLimits, OnImage, select_images


class EvaluationImages(NamedTuple):
    """The images that a model is evaluated on.

    Attributes:
        images: The images.
        notes: Messages for the user, one line each.
        class_orders: As in ``ImageData``.
    """

    images: ImageSet
    notes: tuple[str, ...]
    class_orders: tuple[ClassOrder, ...]


def load_images(
    root: Path,
    model: nn.Module,
    *,
    class_map: Path | None = None,
    seed: int = 0,
    limits: ImageLimits | None = None,
    on_image: OnImage | None = None,
) -> ImageData:
    """Choose the images of a folder as ``select_images`` does, and decode them.

    ``on_image`` is called with the number of images done and the total.
    """
    selection = select_images(root, model, class_map=class_map, seed=seed, limits=limits)
    return selection.decode(on_image)


def load_evaluation(
    root: Path,
    model: nn.Module,
    *,
    class_map: Path | None = None,
    on_image: OnImage | None = None,
) -> EvaluationImages:
    """Read every evaluation image if the folder is split (``find_layout``), else every image.

    Returns:
        The images in the order of their names.

    Raises:
        InputError: For the same reasons as ``load_images``.
    """
    layout = find_layout(root)
    if layout.evaluation is None:
        listing = list_images(root, model, class_map)
    else:
        # Only without a class map do the training images say anything about the classes.
        train = list_images(layout.train, model, None) if layout.train and not class_map else None
        listing = list_images(layout.evaluation, model, class_map, like=train)
    decoded = decode(listing, torch.arange(len(listing)), model, on_image)
    counts = listing.count_per_class(decoded.images.labels)
    notes = (
        *layout.notes,
        *listing.classes.notes,
        f"images per class: {counts}",
        *listing.notes,
        *decoded.notes,
    )
    return EvaluationImages(decoded.images, notes, listing.classes.orders)
