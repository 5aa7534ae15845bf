"""The posterior against the textbook's formulas with a matrix inverse."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from lambda_nas.strategy.gaussian_process import (
    JITTER,
    Hyperparameters,
    Inputs,
    Posterior,
    covariance,
    fit,
    prior_deviation,
)

BY = Hyperparameters(
    offset=0.5, layer=0.3, joint=0.4, joint_length=2.0, level=0.6, level_length=1.5, noise=0.1
)


def draw(count, seed=0):
    random = np.random.default_rng(seed)
    return Inputs(random.integers(0, 2, (count, 5)).astype(float), random.normal(size=count))


def covariance_by_hand(one, other):
    result = np.empty((len(one.level), len(other.level)))
    for i, (a, x) in enumerate(zip(*one, strict=True)):
        for j, (b, y) in enumerate(zip(*other, strict=True)):
            shared = sum(p == q == 1 for p, q in zip(a, b, strict=True))
            differing = sum(p != q for p, q in zip(a, b, strict=True))
            result[i, j] = 0.25 + 0.09 * shared + 0.16 * np.exp(-differing / 2)
            result[i, j] += 0.36 * np.exp(-abs(x - y) / 1.5)
    return result


def observed_covariance(sets):
    gram = covariance_by_hand(sets, sets)
    return gram + np.eye(len(gram)) * (0.01 + JITTER * (np.trace(gram) / len(gram) + 0.01))


def test_the_covariance_is_the_sum_of_its_parts():
    one, other = draw(6), draw(4, seed=1)
    assert covariance(one, other, BY) == pytest.approx(covariance_by_hand(one, other))
    assert prior_deviation(one, BY) ** 2 == pytest.approx(covariance_by_hand(one, one).diagonal())


def test_the_posterior_is_that_of_a_matrix_inverse():
    seen, other = draw(9), draw(5, seed=1)
    values = np.sin(np.arange(9))
    inverse = np.linalg.inv(observed_covariance(seen))
    cross = covariance_by_hand(seen, other)
    mean, deviation = Posterior(seen, values, BY).at(other)
    assert mean == pytest.approx(cross.T @ inverse @ values, rel=1e-4)
    variance = (covariance_by_hand(other, other) - cross.T @ inverse @ cross).diagonal()
    assert deviation**2 == pytest.approx(variance, rel=1e-3)


def test_the_evidence_is_the_density_of_the_values():
    seen = draw(9)
    values = np.sin(np.arange(9))
    constant = -9 / 2 * np.log(2 * np.pi)
    density = multivariate_normal(cov=observed_covariance(seen)).logpdf(values)
    assert Posterior(seen, values, BY).log_evidence + constant == pytest.approx(density, rel=1e-4)


def test_the_z_score_is_that_of_leaving_out_one_at_a_time():
    seen = draw(9)
    values = 3 * np.sin(np.arange(9))
    gram = observed_covariance(seen)
    scaled = []
    for out in range(9):
        rest = [index for index in range(9) if index != out]
        weights = np.linalg.solve(gram[np.ix_(rest, rest)], gram[rest, out])
        variance = gram[out, out] - weights @ gram[rest, out]
        scaled.append((values[out] - weights @ values[rest]) / np.sqrt(variance))
    expected = np.sqrt(np.mean(np.square(scaled)))
    assert Posterior(seen, values, BY).loo_z_score() == pytest.approx(expected, rel=1e-3)


def test_fitting_finds_out_that_there_is_little_noise_and_one_function_of_the_level():
    sets = draw(60)
    fitted = fit(sets, 2 * np.sin(sets.level), BY)
    assert fitted.noise < BY.noise / 2
    assert fitted.level > 2 * fitted.joint
    held_out = draw(40, seed=1)
    mean, _ = Posterior(sets, 2 * np.sin(sets.level), fitted).at(held_out)
    inside = np.abs(held_out.level) < 1.5
    assert np.abs(mean - 2 * np.sin(held_out.level))[inside].max() < 0.1
