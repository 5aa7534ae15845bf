"""Streaming Gaussian entropy against NumPy on all features at once."""

import math

import numpy as np
import pytest
import torch

from lambda_nas.errors import InputError, NonFiniteError
from lambda_nas.scoring.entropy import GaussianEntropy, relative_entropy


def features(*shape, mean=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.01, 30, shape[-1])
    return torch.randn(shape, generator=generator) * spread + mean


def reference(*parts):
    """Compute in one go, float64: ``(value, excluded)``."""
    samples = np.concatenate([part.reshape(-1, part.shape[-1]).double().numpy() for part in parts])
    varying = np.ptp(samples, axis=0) > 0
    return np.log(samples[:, varying].std(axis=0)).sum(), int((~varying).sum())


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(40, 7), (6, 17, 16)])
def test_one_update(shape, mean):
    given = features(*shape, mean=mean)
    found = GaussianEntropy.empty().update(given)
    assert found.value == pytest.approx(reference(given)[0], abs=1e-6)
    assert found.count == given.numel() // shape[-1]
    assert found.excluded == 0


@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_batches_of_unequal_size_and_mean(mean):
    parts = [features(n, 5, 8, mean=mean + 10 * n, seed=n) for n in (1, 7, 2, 30)]
    found = GaussianEntropy.empty()
    for part in parts:
        found = found.update(part)
    assert found.value == pytest.approx(reference(*parts)[0], abs=1e-6)


def test_shards_merge_in_any_order():
    parts = [features(n, 8, mean=1e4, seed=n) for n in (3, 50, 11)]
    first, second, third = (GaussianEntropy.empty().update(part) for part in parts)
    expected = reference(*parts)[0]
    assert first.merge(second).merge(third).value == pytest.approx(expected, abs=1e-6)
    assert third.merge(first.merge(second)).value == pytest.approx(expected, abs=1e-6)
    assert first.merge(second).merge(third).count == 64


def test_half_precision_features_are_widened_before_they_are_centred():
    given = features(64, 8, mean=300).to(torch.bfloat16)
    found = GaussianEntropy.empty().update(given)
    assert found.value == pytest.approx(reference(given)[0], abs=1e-6)


def test_constant_channels_are_left_out_and_counted():
    # 0.1 summed 12 times and divided by 12 is not 0.1: a plain mean would leave a tiny variance.
    parts = [features(n, 6, seed=n).double() for n in (49, 12)]
    for part in parts:
        part[:, [1, 4]] = 0.1
    found = GaussianEntropy.empty().update(parts[0]).update(parts[1])
    value, excluded = reference(*parts)
    assert (found.excluded, excluded) == (2, 2)
    assert found.value == pytest.approx(value, abs=1e-6)


def test_a_channel_constant_in_each_batch_may_vary_between_them():
    parts = [torch.full((4, 1), 1.0), torch.full((4, 1), 3.0)]
    found = GaussianEntropy.empty().update(parts[0]).update(parts[1])
    assert (found.value, found.excluded) == (0.0, 0)  # std 1


def test_update_returns_a_new_value():
    before = GaussianEntropy.empty().update(features(9, 3))
    value = before.value
    before.update(features(9, 3, seed=5))
    assert before.value == value
    assert before.count == 9


def test_nothing_seen():
    nothing = GaussianEntropy.empty().update(torch.zeros(0, 4))
    assert (nothing.count, nothing.value, nothing.excluded) == (0, 0.0, 0)
    assert nothing.merge(GaussianEntropy.empty()).count == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("row", [0, 3])
def test_features_that_are_not_finite(bad, row):
    given = features(5, 4)
    given[row, 2] = bad
    with pytest.raises(NonFiniteError, match="features are not finite"):
        GaussianEntropy.empty().update(given)


def test_other_channels():
    with pytest.raises(InputError, match="merge features of 5 channels with 4"):
        GaussianEntropy.empty().update(features(3, 4)).update(features(3, 5))


def test_relative_entropy_by_hand():
    taught, logits = torch.randn(3, 4), torch.randn(3, 4)
    expected = 0.0
    for goal, own in zip(taught.tolist(), logits.tolist(), strict=True):
        p, q = softmax(goal), softmax(own)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 3
    assert relative_entropy(taught, logits).item() == pytest.approx(expected, rel=1e-5)


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]
