"""The spectrum of signals whose spectrum is known."""

import math

import numpy as np
import pytest
import torch

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import NonFiniteError
from lambda_nas.models.removal import RemovalSet
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.spectrum import SpatialPower, high_frequency_shares

SIZE = 16


def wave(rows, columns, height=SIZE, width=SIZE):
    """Return a plane wave with so many periods over the map, ``[1, height, width, 1]``."""
    y = torch.arange(height)[:, None] * rows / height
    x = torch.arange(width)[None, :] * columns / width
    return torch.cos(2 * math.pi * (y + x))[None, :, :, None]


@pytest.mark.parametrize(
    ("rows", "columns", "share"),
    [(1, 0, 0.0), (3, 3, 0.0), (4, 0, 0.0), (5, 0, 1.0), (0, 5, 1.0), (8, 8, 1.0), (1, 7, 1.0)],
)
def test_plane_waves(rows, columns, share):
    assert SpatialPower.of(wave(rows, columns)).high_share == pytest.approx(share, abs=1e-9)


def test_a_map_that_is_not_square():
    assert SpatialPower.of(wave(2, 0, height=6, width=20)).high_share == pytest.approx(1.0)
    assert SpatialPower.of(wave(0, 4, height=6, width=20)).high_share == pytest.approx(0.0)


def test_powers_add_up_by_amplitude_squared():
    signal = 2 * wave(1, 2) + 1 * wave(6, 0) + 100
    assert SpatialPower.of(signal).high_share == pytest.approx(1 / 5, rel=1e-5)


def test_the_same_at_every_position_has_no_detail():
    assert SpatialPower.of(torch.full((2, 5, 5, 3), 0.1)).high_share == 0.0


def test_white_noise_has_all_frequencies_alike():
    noise = torch.randn(500, SIZE, SIZE, 8, generator=torch.Generator().manual_seed(0))
    low = 9 * 9 - 1  # -4..4 along both axes, without zero
    assert SpatialPower.of(noise).high_share == pytest.approx(1 - low / 255, abs=0.005)


def test_batches_merge_to_the_whole():
    maps = torch.randn(6, SIZE, SIZE, 4)
    whole = SpatialPower.of(maps)
    parts = SpatialPower.of(maps[:2]).merge(SpatialPower.of(maps[2:]))
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))


def test_the_power_is_the_variance():
    maps = torch.randn(3, SIZE, SIZE, 2)
    power = SpatialPower.of(maps)
    expected = maps.var((1, 2), correction=0).sum() * SIZE * SIZE
    assert power.low + power.high == pytest.approx(expected.item(), rel=1e-5)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="features are not finite"):
        SpatialPower.of(torch.full((1, 4, 4, 1), float("nan")))


@pytest.mark.parametrize("removed", [[], [0, 2]])
def test_shares_of_a_model_by_slow_dft(vit, removed):
    pixels = torch.randint(0, 255, (5, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels.to(torch.uint8), torch.zeros(5), (0.5,) * 3, (0.5,) * 3)
    cache = ActivationCache(vit, images, batch_size=2)
    removal = RemovalSet.of(removed)
    found = high_frequency_shares(cache, removal)
    for index, share in enumerate(found):
        tokens = torch.cat(cache.stream(removal, index + 1))
        patches = tokens[:, vit.num_prefix_tokens :].double().numpy().reshape(5, 4, 4, -1)
        assert share == pytest.approx(slow_share(patches), rel=1e-4)


def slow_share(maps):
    """Sum over every frequency by the definition of the Fourier transform."""
    size, low, high = maps.shape[1], 0.0, 0.0
    grid = np.arange(size)
    for row in range(size):
        for column in range(size):
            if row == column == 0:
                continue
            phase = np.exp(-2j * np.pi * (row * grid[:, None] + column * grid[None, :]) / size)
            power = np.abs(np.einsum("bhwc,hw->bc", maps, phase) ** 2).sum()
            cycles = [min(each, size - each) / size for each in (row, column)]
            if max(cycles) > 0.25:
                high += power
            else:
                low += power
    return high / (low + high)
