"""Small image folders, and models for them."""

import numpy as np
import timm
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def network(classes=3, **kwargs):
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
    return timm.create_model("deit_tiny_patch16_224", num_classes=classes, **{**size, **kwargs})


def fill(root, *, per_class=8, classes=CLASSES, mode="RGB", suffix=".png", seed=0):
    """Write noise; ``per_class`` is a number of images, or one number a class."""
    random = np.random.default_rng(seed)
    shape = {"RGB": (24, 20, 3), "L": (24, 20), "RGBA": (24, 20, 4), "CMYK": (24, 20, 4)}[mode]
    numbers = [per_class] * len(classes) if isinstance(per_class, int) else per_class
    for name, number in zip(classes, numbers, strict=True):
        (root / name).mkdir(parents=True)
        for index in range(number):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels, mode=mode).save(root / name / f"{index}{suffix}")
    return root


def rows(images):
    return {tuple(image.flatten().tolist()) for image in images.images}
