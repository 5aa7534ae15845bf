"""The built-in default: scikit-learn's handwritten digits, and a small ViT that knows them."""

from dataclasses import replace
from pathlib import Path

import torch

from lambda_nas.data.image_set import ImageSet, stratified_order
from lambda_nas.data.selection import ImageData, Selection
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE, default_cfgs
from lambda_nas.pretrained.loading import LoadedModel, load_model

SEED = 0
IMAGES = 1797
TRAINING_IMAGES = 1257
CALIBRATION_IMAGES = 256
# Written by studies/digits/train_vit.py.
WEIGHTS = Path(__file__).parent / DIGITS_ARCHITECTURE


def digits_images() -> ImageData:
    """Return the 1797 digits, 8x8 and grey: 1257 to train on, 540 held out, by class alike."""
    # Seconds of import that only the digits need.
    from sklearn.datasets import load_digits

    digits = load_digits()
    cfg = default_cfgs[DIGITS_ARCHITECTURE].default
    # Their 17 levels, 0..16, become 0..240.
    pixels = torch.from_numpy(digits.images * 15).to(torch.uint8)[:, None]
    labels = torch.from_numpy(digits.target).to(torch.int64)
    everything = ImageSet(pixels, labels, tuple(cfg.mean), tuple(cfg.std))
    order = stratified_order(labels, generator=torch.Generator().manual_seed(SEED))
    training = everything.subset(order[:TRAINING_IMAGES])
    evaluation = everything.subset(order[TRAINING_IMAGES:])
    return ImageData(
        calibration=training.subset(torch.arange(CALIBRATION_IMAGES)),
        evaluation=evaluation,
        training=training,
        fingerprint=f"digits-{SEED}-{TRAINING_IMAGES}-{CALIBRATION_IMAGES}",
        description=(
            f"scikit-learn digits: {CALIBRATION_IMAGES} calibration and {TRAINING_IMAGES} "
            f"training images, {len(evaluation)} evaluation images"
        ),
    )


def digits_selection() -> Selection:
    """Return the digits before they are read."""
    return Selection(
        calibration=CALIBRATION_IMAGES,
        evaluation=IMAGES - TRAINING_IMAGES,
        training=TRAINING_IMAGES,
        decode=lambda _: digits_images(),
    )


def digits_model() -> LoadedModel:
    """Return the 12-block ViT, trained on the training images of ``digits_images``."""
    return replace(load_model(f"local-dir:{WEIGHTS}"), name=DIGITS_ARCHITECTURE)
