"""Chooses the images of a study: which are for calibration, for training and for evaluation.

Notation used for tensor shapes: ``[images, channels, height, width]``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lambda_nas.data.classes import ClassOrder
from lambda_nas.data.decoding import Decoded, decode
from lambda_nas.data.files import escape_line
from lambda_nas.data.image_set import ImageSet, proportional_halves, proportional_order
from lambda_nas.data.layout import EXPECTED, Layout, find_layout
from lambda_nas.data.listing import Listing, list_images
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
        fingerprint: Hash of the content of the image files, labels, seed and limits, 16 hex digits;
            names and places of the files are not part of it.
        description: The source and the numbers of images, in one line.
        notes: Messages for the user, one line each.
        class_orders: The order of the head's classes, and others that it might be; empty if there
            is no question.
    """

    calibration: ImageSet
    evaluation: ImageSet
    training: ImageSet | None
    fingerprint: str
    description: str
    notes: tuple[str, ...] = ()
    class_orders: tuple[ClassOrder, ...] = ()


@dataclass(frozen=True, eq=False)
class Selection:
    """The images of a study, found and chosen, and not decoded yet.

    Attributes:
        calibration: Number of images for the prior and the transplant.
        evaluation: Number of images for measuring accuracy.
        training: Number of images for training; 0 if training is off.
        decode: Decodes them; given a function, calls it with the number of images done and the
            total.
    """

    calibration: int
    evaluation: int
    training: int
    decode: Callable[[OnImage | None], ImageData]


def select_images(
    root: Path,
    model: nn.Module,
    *,
    class_map: Path | None = None,
    seed: int = 0,
    limits: ImageLimits | None = None,
) -> Selection:
    """Find the images of a folder, check their classes, and choose those of a study.

    If ``root`` has ``train/`` and ``val/``, in any of the spellings that ``find_layout`` knows,
    calibration and training images come from train and evaluation images from val; otherwise the
    folder is split into random halves for calibration and evaluation. Halves and samples hold the
    classes in their own proportions.

    Args:
        root: A folder with one folder of images per class.
        model: A timm model, whose config says how images are resized and normalized.
        class_map: A text file of class names in the order of the head, in timm's format.
        seed: Random seed for the split and for the choice of images.
        limits: Maximum numbers of images.

    Raises:
        InputError: If the folder is missing or empty, or its classes don't fit the model's head.
    """
    limits = limits or ImageLimits()
    layout = find_layout(root)
    if layout.evaluation is None:
        return _halves(list_images(root, model, class_map), model, seed, limits)
    if layout.train is None:
        raise InputError(
            f"holds {layout.evaluation.name}/ but no training images",
            parameter="data",
            value=root,
            allowed=EXPECTED,
            advice=f"to split those in halves, give {layout.evaluation}",
        )
    train = list_images(layout.train, model, class_map)
    val = list_images(layout.evaluation, model, class_map, like=train)
    return _splits(layout, train, val, model, seed, limits)


def _halves(listing: Listing, model: nn.Module, seed: int, limits: ImageLimits) -> Selection:
    if len(listing) < 2:
        raise InputError(
            "holds one image, and a split needs two", parameter="data", value=listing.root
        )
    halves = proportional_halves(listing.labels, generator=torch.Generator().manual_seed(seed))
    first, second = halves[0][: limits.half], halves[1][: limits.evaluation]

    def read(on_image: OnImage | None) -> ImageData:
        decoded = decode(listing, torch.cat([first, second]), model, on_image)
        boundary = decoded.before(len(first))
        calibration, evaluation = _part(decoded, 0, boundary), _part(decoded, boundary, None)
        note = (
            f"no train/ and val/ below {escape_line(str(listing.root))}: split in halves (seed "
            f"{seed}), {len(calibration)} calibration and {len(evaluation)} evaluation images; "
            "training is off"
        )
        counts = _count(listing, calibration=calibration, evaluation=evaluation)
        return ImageData(
            calibration=calibration,
            evaluation=evaluation,
            training=None,
            fingerprint=_fingerprint(decoded.fingerprint, seed, limits),
            description=(
                f"{listing.root}: {len(calibration)} calibration, {len(evaluation)} evaluation"
            ),
            notes=(note, *listing.classes.notes, counts, *listing.notes, *decoded.notes),
            class_orders=listing.classes.orders,
        )

    return Selection(calibration=len(first), evaluation=len(second), training=0, decode=read)


def _splits(
    layout: Layout, train: Listing, val: Listing, model: nn.Module, seed: int, limits: ImageLimits
) -> Selection:
    training_order = _order(train, seed)[: max(limits.training, limits.calibration)]
    evaluation_order = _order(val, seed)[: limits.evaluation]
    total = len(training_order) + len(evaluation_order)

    def read(on_image: OnImage | None) -> ImageData:
        def counted(before: int) -> OnImage:
            return lambda done, _: on_image(before + done, total) if on_image else None

        from_train = decode(train, training_order, model, counted(0))
        from_val = decode(val, evaluation_order, model, counted(len(training_order)))
        parts = {
            "calibration": _part(from_train, 0, limits.calibration),
            "training": _part(from_train, 0, limits.training),
            "evaluation": from_val.images,
        }
        notes = [*layout.notes, *train.classes.notes]
        notes += [*train.notes, *from_train.notes, *val.notes, *from_val.notes]
        notes += _sampled("training", train, limits.training)
        notes += _sampled("accuracy", val, limits.evaluation)
        return ImageData(
            **parts,
            fingerprint=_fingerprint(from_train.fingerprint, from_val.fingerprint, seed, limits),
            description=(
                f"{layout.root}: {len(parts['calibration'])} calibration and "
                f"{len(parts['training'])} training images of {train.root.name}, "
                f"{len(parts['evaluation'])} evaluation images of {val.root.name}"
            ),
            notes=(*notes, _count(train, **parts)),
            class_orders=train.classes.orders,
        )

    return Selection(
        calibration=min(limits.calibration, len(train)),
        evaluation=len(evaluation_order),
        training=min(limits.training, len(train)),
        decode=read,
    )


def _sampled(what: str, listing: Listing, limit: int) -> list[str]:
    if limit >= len(listing):
        return []
    root = escape_line(str(listing.root))
    return [f"{what} on {limit} of {len(listing)} images of {root}"]


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _order(listing: Listing, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return proportional_order(listing.labels, generator=generator)


def _count(listing: Listing, **parts: ImageSet) -> str:
    counts = (f"{part} {listing.count_per_class(each.labels)}" for part, each in parts.items())
    return f"images per class: {'; '.join(counts)}"


def _part(decoded: Decoded, start: int, stop: int | None) -> ImageSet:
    images = decoded.images
    part = slice(start, stop)
    return ImageSet(images.images[part], images.labels[part], images.mean, images.std)
