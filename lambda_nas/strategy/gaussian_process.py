"""A Gaussian process over removal sets: layer by layer, jointly, and along one known number.

The covariance of two sets is the sum of four parts: a constant, what each shared layer brings on
its own, how alike the sets are as a whole (falling with the number of layers in which they differ),
and how near they are in ``level``, a number known of each set before it is measured. What depends
on the level need not be smooth: beyond the levels observed it soon becomes uncertain.

Notation: ``members`` is ``[sets, layers]``, 1.0 where a layer is removed; a way to merge tokens
counts as a layer here. ``level`` is ``[sets]``.
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
"""How far hyperparameters may stray: the standard deviation of their logarithms."""


@dataclass(frozen=True)
class Hyperparameters:
    """Standard deviations in units of what is modelled, and lengths.

    Attributes:
        offset: Of the constant.
        layer: Of each layer's own effect.
        joint: Of what sets have beyond that.
        joint_length: In layers that differ.
        along: Of the function of the level.
        along_length: In units of the level.
        noise: Of an observation.
    """

    offset: float
    layer: float
    joint: float
    joint_length: float
    along: float
    along_length: float
    noise: float


class Sets(NamedTuple):
    """What is known of sets before they are measured."""

    members: Array
    level: Array


def covariance(one: Sets, other: Sets, by: Hyperparameters) -> Array:
    """Return ``[sets of one, sets of other]``."""
    shared = one.members @ other.members.T
    differing = one.members.sum(1)[:, None] + other.members.sum(1)[None] - 2 * shared
    distance = (one.level[:, None] - other.level[None]) / by.along_length
    return (
        by.offset**2
        + by.layer**2 * shared
        + by.joint**2 * np.exp(-differing / by.joint_length)
        + by.along**2 * np.exp(-np.abs(distance))
    )


class Posterior:
    """What observations at some sets tell of all others.

    Args:
        sets: The observed ones.
        values: ``[sets]``, less their prior mean.
        by: Hyperparameters.
    """

    def __init__(self, sets: Sets, values: Array, by: Hyperparameters) -> None:
        self._sets, self._by = sets, by
        gram = covariance(sets, sets, by)
        gram[np.diag_indices_from(gram)] += by.noise**2 + JITTER * gram.diagonal().mean()
        self._factor = cho_factor(gram, lower=True)
        self._weights = cho_solve(self._factor, values)
        half = np.log(self._factor[0].diagonal()).sum()
        self.log_evidence = float(-0.5 * values @ self._weights - half)

    def loo_z_score(self) -> float:
        """Return how far observations lie from where the others put them: 1.0 is as expected.

        A root mean square, in standard deviations, left out one at a time in closed form.
        """
        inverse = cho_solve(self._factor, np.eye(len(self._weights))).diagonal()
        return float(np.sqrt(np.mean(np.square(self._weights) / inverse)))

    def at(self, sets: Sets) -> tuple[Array, Array]:
        """Return mean (less the prior mean) and standard deviation without noise, ``[sets]``."""
        cross = covariance(self._sets, sets, self._by)
        solved = solve_triangular(self._factor[0], cross, lower=True)
        variance = np.square(prior_deviation(sets, self._by)) - np.square(solved).sum(0)
        return cross.T @ self._weights, np.sqrt(np.maximum(variance, 0.0))


def fit(sets: Sets, values: Array, defaults: Hyperparameters) -> Hyperparameters:
    """Return the most probable hyperparameters, log-normal around the defaults a priori."""
    start = np.log(astuple(defaults))

    def loss(logarithms: Array) -> float:
        posterior = Posterior(sets, values, Hyperparameters(*np.exp(logarithms)))
        return -posterior.log_evidence + 0.5 * float(
            np.square((logarithms - start) / HYPERPRIOR_STD).sum()
        )

    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 20})
    return Hyperparameters(*np.exp(found.x).tolist())


def prior_deviation(sets: Sets, by: Hyperparameters) -> Array:
    """Return the standard deviation of each set before any observation, ``[sets]``."""
    return np.sqrt(by.offset**2 + by.layer**2 * sets.members.sum(1) + by.joint**2 + by.along**2)
