"""Ridge regression against a plain one that forms the design matrix and refits every fold."""

import numpy as np
import pytest
import torch

from lambda_nas.repair.ridge import ALONE, STRENGTHS, NormalEquations

TOKENS, WIDTH, OUT = 4, 6, 3
WEIGHTS = torch.tensor([5.0, 1.0, 1.0, 1.0])


def data(images, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, TOKENS, WIDTH, generator=generator)
    truth = torch.randn(WIDTH, OUT, generator=generator)
    disturbance = torch.randn(images, TOKENS, OUT, generator=generator)
    return inputs, inputs @ truth + 1.5 + noise * disturbance


def equations(inputs, lacking, folds, batch):
    sums = NormalEquations.empty(folds, WIDTH + 1, OUT, torch.device("cpu"))
    for part in torch.arange(len(inputs)).split(batch):
        sums.add(inputs[part], lacking[part], WEIGHTS)
    return sums


def plain_ridge(inputs, lacking, strength):
    """Weighted least squares with extra rows for the penalty; the bias has none."""
    root = np.sqrt(np.tile(WEIGHTS.numpy(), len(inputs)))[:, None].astype(np.float64)
    design = np.c_[inputs.reshape(-1, WIDTH).double().numpy(), np.ones(len(root))] * root
    goal = lacking.reshape(-1, OUT).double().numpy() * root
    mean_square = np.square(design[:, :-1]).sum(0).mean()
    penalty = np.sqrt(strength * mean_square) * np.eye(WIDTH, WIDTH + 1)
    rows = np.r_[design, penalty], np.r_[goal, np.zeros((WIDTH, OUT))]
    return np.linalg.lstsq(*rows, rcond=None)[0]


def plain_error(inputs, lacking, change):
    predicted = np.c_[inputs.reshape(-1, WIDTH), np.ones(inputs[..., 0].numel())] @ change
    squared = np.square(lacking.reshape(-1, OUT).numpy() - predicted).sum(1)
    return squared @ np.tile(WEIGHTS.numpy(), len(inputs))


@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_the_strength_is_the_one_that_predicts_held_out_images_best(noise):
    inputs, lacking = data(20, noise)
    held_out = {}
    for strength in STRENGTHS:
        error = 0.0
        for fold in range(5):
            own = torch.arange(len(inputs)) % 5 == fold
            change = plain_ridge(inputs[~own], lacking[~own], strength)
            error += plain_error(inputs[own], lacking[own], change)
        held_out[strength] = error
    best = min(held_out, key=held_out.__getitem__)
    # Batches of 10 deal the images to the 5 folds as one batch would.
    found = equations(inputs, lacking, folds=5, batch=10).solve()
    np.testing.assert_allclose(found, plain_ridge(inputs, lacking, best), rtol=1e-4, atol=1e-5)


def test_without_noise_the_pull_is_the_weakest():
    inputs, lacking = data(10, 0.0)
    found = equations(inputs, lacking, folds=5, batch=10).solve()
    expected = plain_ridge(inputs, lacking, min(STRENGTHS))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_predicts_no_held_out_image_is_no_change():
    inputs, _ = data(5, 0.0)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0]).view(-1, 1, 1)
    lacking = signs * torch.ones(5, TOKENS, OUT)
    inputs = inputs[:1].expand(5, -1, -1)
    assert not equations(inputs, lacking, folds=5, batch=5).solve().any()


def test_nothing_lacking_is_exactly_no_change():
    inputs, _ = data(10, 0.0)
    found = equations(inputs, torch.zeros(10, TOKENS, OUT), folds=5, batch=10).solve()
    assert not found.any()


def test_one_image_has_a_fixed_strength():
    inputs, lacking = data(1, 0.1)
    found = equations(inputs, lacking, folds=1, batch=1).solve()
    np.testing.assert_allclose(found, plain_ridge(inputs, lacking, ALONE), rtol=1e-4, atol=1e-5)


def test_nan_is_seen_in_the_solution():
    inputs, lacking = data(10, 0.1)
    lacking[0, 0, 0] = float("nan")
    assert not torch.isfinite(equations(inputs, lacking, folds=5, batch=10).solve()).all()
