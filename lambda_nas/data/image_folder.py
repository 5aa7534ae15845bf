"""Loads image folders as tensors, with timm's readers and the transform of the model's config.

Notation used for tensor shapes: ``[images, channels, height, width]``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lambda_nas.data.decoding import Decoded, decode
from lambda_nas.data.image_set import ImageSet, stratified_order
from lambda_nas.data.listing import Listing, find_splits, list_images
from lambda_nas.errors import InputError

OnImage = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageLimits:
    """Maximum numbers of images.

    Attributes:
        calibration: Images of ``train/`` for the prior and the transplant.
        evaluation: Images for measuring accuracy.
        training: Images of ``train/`` for the rungs after the transplant.
        half: Calibration images of a folder that is split into halves.
    """

    calibration: int = 250
    evaluation: int = 5000
    training: int = 5000
    half: int = 1000


@dataclass(frozen=True, eq=False)
class ImageData:
    """The images of one study.

    Attributes:
        calibration: Images for the prior and the transplant.
        evaluation: Images for measuring accuracy; none of them is in the other two.
        training: Images for training; ``None`` if training is off.
        fingerprint: Hash of file names, sizes, classes, seed and limits, 16 hex digits.
        description: The source and the numbers of images, in one line.
        notes: Messages for the user, one line each.
    """

    calibration: ImageSet
    evaluation: ImageSet
    training: ImageSet | None
    fingerprint: str
    description: str
    notes: tuple[str, ...] = ()


def load_images(
    root: Path,
    model: nn.Module,
    *,
    class_map: Path | None = None,
    seed: int = 0,
    limits: ImageLimits | None = None,
    on_image: OnImage | None = None,
) -> ImageData:
    """Read, split and decode an image folder for a search.

    If ``root`` has ``train/`` and ``val/`` (or ``validation/``), calibration and training images
    come from train and evaluation images from val; otherwise the folder is split into stratified
    random halves for calibration and evaluation.

    Args:
        root: A folder with one folder of images per class.
        model: A timm model, whose config says how images are resized and normalized.
        class_map: A text file of class names in the order of the head, in timm's format.
        seed: Random seed for the split and for the choice of images.
        limits: Maximum numbers of images.
        on_image: Called with the number of images done and the total.

    Raises:
        InputError: If the folder is missing, empty or unreadable, or its classes don't fit the
            model's head.
    """
    limits = limits or ImageLimits()
    splits = find_splits(root)
    if splits is None:
        return _load_halves(list_images(root, model, class_map), model, seed, limits, on_image)
    train = list_images(splits.train, model, class_map)
    val = list_images(splits.val, model, class_map, classes=train.classes)
    return _load_splits(root, train, val, model, seed, limits, on_image)


def load_evaluation(
    root: Path,
    model: nn.Module,
    *,
    class_map: Path | None = None,
    on_image: OnImage | None = None,
) -> tuple[ImageSet, tuple[str, ...]]:
    """Read every image of ``val/`` if the folder has a train/val split, else of the folder.

    Returns:
        The images in the order of their names, and messages for the user.

    Raises:
        InputError: For the same reasons as ``load_images``.
    """
    splits = find_splits(root)
    if splits is None:
        listing = list_images(root, model, class_map)
    else:
        classes = None if class_map else list_images(splits.train, model, None).classes
        listing = list_images(splits.val, model, class_map, classes=classes)
    decoded = decode(listing, torch.arange(len(listing)), model, on_image)
    return decoded.images, (*listing.notes, *decoded.notes)


def _load_halves(
    listing: Listing, model: nn.Module, seed: int, limits: ImageLimits, on_image: OnImage | None
) -> ImageData:
    if len(listing) < 2:
        raise InputError(
            "holds one image, and a split needs two", parameter="data", value=listing.root
        )
    order = _order(listing, seed)
    half = len(order) // 2
    chosen = torch.cat([order[:half][: limits.half], order[half:][: limits.evaluation]])
    decoded = decode(listing, chosen, model, on_image)
    boundary = decoded.before(min(half, limits.half))
    calibration, evaluation = _part(decoded, 0, boundary), _part(decoded, boundary, None)
    note = (
        f"no train/ and val/ below {listing.root}: split in halves (seed {seed}), "
        f"{len(calibration)} calibration and {len(evaluation)} evaluation images; training is off"
    )
    return ImageData(
        calibration=calibration,
        evaluation=evaluation,
        training=None,
        fingerprint=listing.fingerprint(seed, limits),
        description=f"{listing.root}: {len(calibration)} calibration, {len(evaluation)} evaluation",
        notes=(note, *listing.notes, *decoded.notes),
    )


def _load_splits(
    root: Path,
    train: Listing,
    val: Listing,
    model: nn.Module,
    seed: int,
    limits: ImageLimits,
    on_image: OnImage | None,
) -> ImageData:
    training_order = _order(train, seed)[: max(limits.training, limits.calibration)]
    evaluation_order = _order(val, seed)[: limits.evaluation]
    total = len(training_order) + len(evaluation_order)

    def on_train(done: int, _: int) -> None:
        if on_image:
            on_image(done, total)

    def on_val(done: int, _: int) -> None:
        if on_image:
            on_image(len(training_order) + done, total)

    from_train = decode(train, training_order, model, on_train)
    from_val = decode(val, evaluation_order, model, on_val)
    notes = [*train.notes, *from_train.notes, *val.notes, *from_val.notes]
    for part, listing, order in (
        ("training", train, training_order[: limits.training]),
        ("accuracy", val, evaluation_order),
    ):
        if len(order) < len(listing):
            notes.append(f"{part} on {len(order)} of {len(listing)} images of {listing.root}")
    calibration = _part(from_train, 0, limits.calibration)
    training = _part(from_train, 0, limits.training)
    return ImageData(
        calibration=calibration,
        evaluation=from_val.images,
        training=training,
        fingerprint=train.fingerprint(seed, limits, val),
        description=(
            f"{root}: {len(calibration)} calibration and {len(training)} training images of "
            f"{train.root.name}, {len(from_val.images)} evaluation images of {val.root.name}"
        ),
        notes=tuple(notes),
    )


def _order(listing: Listing, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return stratified_order(listing.labels, generator=generator)


def _part(decoded: Decoded, start: int, stop: int | None) -> ImageSet:
    images = decoded.images
    part = slice(start, stop)
    return ImageSet(images.images[part], images.labels[part], images.mean, images.std)
