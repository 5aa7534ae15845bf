"""Batches: order, targets, and that the transforms are timm's."""

import random
from itertools import islice

import numpy as np
import pytest
import torch

from lambda_nas.data.image_set import ImageSet
from lambda_nas.training.augmentation import EndlessOrder, seeded, training_batches
from lambda_nas.training.config import Augmentation, Losses, TrainConfig

CPU = torch.device("cpu")


def image_set(count=10, channels=3):
    """Return images whose left half is brighter, each with its number in the first pixel."""
    images = torch.zeros(count, channels, 16, 16, dtype=torch.uint8)
    images[..., :8] = 200
    images[:, :, 15, 15] = torch.arange(count, dtype=torch.uint8)[:, None]
    return ImageSet(images, torch.arange(count) % 4, (0.0,) * channels, (1 / 255,) * channels)


def draw(images, count, seed=0, **settings):
    config = TrainConfig(steps=1, lr=1, **{"batch_size": 4, **settings})
    with seeded(seed, CPU):
        order = EndlessOrder(len(images), config.batch_size)
        return list(islice(training_batches(images, order, config, 4, CPU), count))


def test_every_batch_is_full_and_every_image_comes_once_a_pass():
    batches = draw(image_set(), 5)
    assert {len(pixels) for pixels, _ in batches} == {4}
    numbers = torch.cat([pixels[:, 0, 15, 15] for pixels, _ in batches]).int().tolist()
    assert sorted(numbers[:10]) == sorted(numbers[10:]) == list(range(10))
    assert numbers[:10] != numbers[10:]


def test_fewer_images_than_a_batch():
    ((pixels, _),) = draw(image_set(3), 1, batch_size=8)
    assert len(pixels) == 8


def test_targets_are_smoothed_labels():
    ((pixels, targets),) = draw(image_set(), 1, losses=Losses(smoothing=0.2))
    labels = pixels[:, 0, 15, 15].int() % 4
    expected = torch.full((4, 4), 0.05)
    expected[torch.arange(4), labels] = 0.85
    torch.testing.assert_close(targets, expected)


def test_without_augmentation_images_are_themselves():
    images = image_set()
    ((pixels, _),) = draw(images, 1)
    for one in pixels:
        torch.testing.assert_close(one, images.images[int(one[0, 15, 15])].float())


@pytest.mark.parametrize("channels", [1, 3])
def test_flips_alone_change_nothing_else(channels):
    images = image_set(channels=channels)
    ((pixels, _),) = draw(images, 1, augmentation=Augmentation(hflip=1.0))
    for one in pixels:
        number = int(one[0, 15, 0])
        torch.testing.assert_close(one, images.images[number].flip(-1).float())


def test_crops_keep_the_size_and_vary():
    batches = draw(image_set(), 4, augmentation=Augmentation(crop=0.2))
    bright = torch.cat([(pixels[:, 0] > 100).float().mean((1, 2)) for pixels, _ in batches])
    assert all(pixels.shape == (4, 3, 16, 16) for pixels, _ in batches)
    assert bright.std() > 0.1


def test_crops_are_enlarged_by_bicubic_interpolation():
    batches = draw(image_set(), 4, augmentation=Augmentation(crop=0.2))
    pixels = torch.cat([pixels for pixels, _ in batches])
    # Bilinear interpolation stays between the values of its neighbors.
    assert pixels[:, :, :8, :].max() > 200


def test_a_policy_changes_pixels():
    batches = draw(image_set(), 5, augmentation=Augmentation(policy="rand-m9-n2"))
    pixels = torch.cat([pixels for pixels, _ in batches])
    assert pixels.shape == (20, 3, 16, 16)
    assert not ((pixels == 200) | (pixels < 10)).all((1, 2, 3)).all()


def test_cutmix_weighs_targets_by_area():
    plain = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    images = ImageSet(plain, torch.arange(4), (0.0,) * 3, (1 / 255,) * 3)
    losses = Losses(smoothing=0.0)
    for seed in range(5):
        ((pixels, targets),) = draw(
            images, 1, seed, losses=losses, augmentation=Augmentation(cutmix=1.0)
        )
        areas = torch.stack([(pixels[:, 0] == value).float().mean((1, 2)) for value in range(4)])
        torch.testing.assert_close(targets, areas.T)


def test_mixup_is_the_published_formula():
    plain = draw(image_set(), 1, losses=Losses(smoothing=0.0))[0]
    mixed = draw(
        image_set(), 1, losses=Losses(smoothing=0.0), augmentation=Augmentation(mixup=0.8)
    )[0]
    with seeded(0, CPU):
        np.random.rand()
        lam = np.random.beta(0.8, 0.8)
    for before, after in zip(plain, mixed, strict=True):
        torch.testing.assert_close(after, lam * before + (1 - lam) * before.flip(0))


def test_all_global_generators_are_seeded_and_restored():
    def numbers():
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = numbers()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    with seeded(1, CPU):
        inside = numbers()
    assert numbers() == expected
    with seeded(1, CPU):
        assert numbers() == inside != expected
