"""Matching against moments that numpy computes on the concatenated outputs."""

import copy

import numpy as np
import torch
from torch import nn

from lambda_nas.repair.norm_matching import match_norms

WEIGHTS = torch.tensor([3.0, 1.0, 1.0])


def norm(seed):
    generator = torch.Generator().manual_seed(seed)
    made = nn.LayerNorm(8)
    with torch.no_grad():
        made.weight.copy_(1 + 0.2 * torch.randn(8, generator=generator))
        made.bias.copy_(0.2 * torch.randn(8, generator=generator))
    return made.requires_grad_(False)


def batches(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 3, 8, generator=generator) for size in (4, 2)]


def moments(outputs):
    rows = np.concatenate([output.double().numpy() for output in outputs]).reshape(-1, 8)
    shares = np.tile(WEIGHTS.numpy(), len(rows) // 3)
    mean = np.average(rows, axis=0, weights=shares)
    return mean, np.sqrt(np.average(np.square(rows - mean), axis=0, weights=shares))


def test_outputs_get_the_targets_moments():
    own, states, targets = norm(0), batches(1), [2 * batch + 1 for batch in batches(2)]
    targets = [1.3 * batch / batch.std() + 0.5 for batch in targets]
    match_norms(own, states, targets, WEIGHTS)
    for found, wanted in zip(moments(map(own, states)), moments(targets), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_same_outputs_change_nothing():
    own, states = norm(0), batches(1)
    before = copy.deepcopy(own.state_dict())
    match_norms(own, states, map(copy.deepcopy(own), states), WEIGHTS)
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


def test_the_factor_is_bounded_and_a_constant_channel_is_left_alone():
    own, states = norm(0), batches(1)
    own.weight[0] = 0.0
    before = own.weight.clone()
    match_norms(own, states, [100 * batch for batch in batches(2)], WEIGHTS)
    assert own.weight[0] == 0
    torch.testing.assert_close(own.weight, 3 * before)


def test_a_norm_without_bias_is_left_alone():
    own = nn.RMSNorm(8)
    match_norms(own, batches(1), batches(2), WEIGHTS)
    assert torch.equal(own.weight, torch.ones(8))
