"""A Gaussian process over architectures: per layer, jointly, and along one known number.

The covariance of two architectures is the sum of four parts: a constant, the effect of each layer
that both remove, how alike the two are as a whole (it falls with the number of layers in which they
differ), and how close they are in ``level``, a number known of each architecture before it is
evaluated. The function of the level need not be smooth: beyond the observed levels its uncertainty
grows quickly.

Notation: ``features`` is ``[architectures, layers]``, 1.0 where a layer is removed; a way to merge
tokens counts as a layer here. ``level`` is ``[architectures]``.
"""

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

JITTER = 1e-6
"""Added to the diagonal, relative to the variance."""

HYPERPRIOR_STD = 1.0
"""Standard deviation of the logarithms of the hyperparameters under their prior."""


@dataclass(frozen=True)
class Hyperparameters:
    """Standard deviations in units of the modelled quantity, and length scales.

    Attributes:
        offset: Standard deviation of the constant.
        layer: Standard deviation of each layer's own effect.
        joint: Standard deviation of what an architecture has beyond its layers' effects.
        joint_length: Length scale of ``joint``, in layers that differ.
        level: Standard deviation of the function of the level.
        level_length: Length scale of ``level``, in units of the level.
        noise: Standard deviation of an observation's noise.
    """

    offset: float
    layer: float
    joint: float
    joint_length: float
    level: float
    level_length: float
    noise: float


class Inputs(NamedTuple):
    """What is known of architectures before they are evaluated."""

    features: Array
    level: Array


def covariance(rows: Inputs, columns: Inputs, by: Hyperparameters) -> Array:
    """Return the covariance matrix, ``[rows, columns]``."""
    shared = rows.features @ columns.features.T
    differing = rows.features.sum(1)[:, None] + columns.features.sum(1)[None] - 2 * shared
    distance = (rows.level[:, None] - columns.level[None]) / by.level_length
    return (
        by.offset**2
        + by.layer**2 * shared
        + by.joint**2 * np.exp(-differing / by.joint_length)
        + by.level**2 * np.exp(-np.abs(distance))
    )


class Posterior:
    """The process conditioned on observations.

    Args:
        inputs: The observed architectures.
        values: Observed values less their prior mean, ``[architectures]``.
        by: Hyperparameters.
    """

    def __init__(self, inputs: Inputs, values: Array, by: Hyperparameters) -> None:
        self._inputs, self._by = inputs, by
        gram = covariance(inputs, inputs, by)
        gram[np.diag_indices_from(gram)] += by.noise**2 + JITTER * gram.diagonal().mean()
        self._factor = cho_factor(gram, lower=True)
        self._weights = cho_solve(self._factor, values)
        half = np.log(self._factor[0].diagonal()).sum()
        self.log_evidence = float(-0.5 * values @ self._weights - half)

    def loo_z_score(self) -> float:
        """Return the root mean square of the leave-one-out z-scores; 1.0 is as expected.

        Each observation is compared with its prediction from all others, in closed form.
        """
        inverse = cho_solve(self._factor, np.eye(len(self._weights))).diagonal()
        return float(np.sqrt(np.mean(np.square(self._weights) / inverse)))

    def at(self, inputs: Inputs) -> tuple[Array, Array]:
        """Return mean (less the prior mean) and standard deviation without noise."""
        cross = covariance(self._inputs, inputs, self._by)
        solved = solve_triangular(self._factor[0], cross, lower=True)
        variance = np.square(prior_deviation(inputs, self._by)) - np.square(solved).sum(0)
        return cross.T @ self._weights, np.sqrt(np.maximum(variance, 0.0))


def fit(inputs: Inputs, values: Array, defaults: Hyperparameters) -> Hyperparameters:
    """Return the most probable hyperparameters; their prior is log-normal around the defaults."""
    start = np.log(astuple(defaults))

    def loss(logarithms: Array) -> float:
        posterior = Posterior(inputs, values, Hyperparameters(*np.exp(logarithms)))
        return -posterior.log_evidence + 0.5 * float(
            np.square((logarithms - start) / HYPERPRIOR_STD).sum()
        )

    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 20})
    return Hyperparameters(*np.exp(found.x).tolist())


def prior_deviation(inputs: Inputs, by: Hyperparameters) -> Array:
    """Return the standard deviation of each architecture before any observation."""
    removed = inputs.features.sum(1)
    return np.sqrt(by.offset**2 + by.layer**2 * removed + by.joint**2 + by.level**2)
