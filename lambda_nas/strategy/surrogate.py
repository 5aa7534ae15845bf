"""The surrogate model: predicts the accuracy of every architecture from the prior and the trials.

It consists of two Gaussian processes. The first predicts the prior's score (relative entropy) of
architectures that have not been scored from those that have, so that only promising ones need to be
scored. The second predicts accuracies: its prior mean falls with the score, and finished trials
teach it how the accuracy really depends on the score, and which layers and architectures are better
or worse than their score says. A way to merge tokens counts as one more layer.

Accuracies are modelled as log odds, because the spread among architectures of similar score is then
about the same at high and at low accuracy: 0.1 to 0.3 on the digits' 4096 removal sets, with and
without repair, where the accuracies themselves spread by 0.5 to 5 points.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.gaussian_process import (
    Hyperparameters,
    Inputs,
    Posterior,
    fit,
    prior_deviation,
)

Array = NDArray[np.float64]
Score = Callable[[Architecture], float]

LOG_SCORE = Hyperparameters(
    offset=3.0, layer=1.0, joint=0.5, joint_length=3.0, level=1.5, level_length=4.0, noise=0.05
)
"""Hyperparameters of the log score before any fit; the level is the number of layers removed."""

ACCURACY = Hyperparameters(
    offset=0.5, layer=0.2, joint=0.3, joint_length=3.0, level=1.0, level_length=1.5, noise=0.15
)
"""Hyperparameters of the log odds before any fit; the level is the logarithm of the score."""

LEAST_SCORE = 1e-4
"""Added to scores, in nats, before the logarithm: smaller differences do not matter."""

FITTED_AT = tuple(round(4 * 1.3**step) for step in range(30))
"""Numbers of observations at which the hyperparameters are fitted again."""

SOFTNESS = 0.005
"""Added to accuracies and errors, so that the log odds of 0 and 1 are finite."""


class Candidates(NamedTuple):
    """Architectures, and the same as a matrix.

    Attributes:
        architectures: The candidates.
        features: ``[architectures, layers and mergings]``, 1.0 where a layer is removed or tokens
            are merged in that way.
    """

    architectures: Sequence[Architecture]
    features: Array


class Prediction(NamedTuple):
    """Mean and standard deviation, ``[architectures]`` each."""

    mean: Array
    deviation: Array


class Surrogate:
    """Predicts scores and accuracies; scores an architecture only when asked to.

    Args:
        search_space: What may be removed, and how tokens may be merged.
        score: Returns the prior's score of an architecture: not negative, lower is better. Called
            once per architecture.
        baseline: Accuracy of the unpruned model.
        max_removed: Maximum number of layers removed at once.
    """

    def __init__(
        self, search_space: SearchSpace, score: Score, *, baseline: float, max_removed: int
    ) -> None:
        self._search_space = search_space
        self._score = score
        self._baseline = baseline
        self._max_removed = max_removed
        self._scores: dict[Architecture, float] = {}
        self._path_scored = False
        self._last_log_scores: tuple[Candidates, int, Prediction] | None = None
        self._score_process = _Process(LOG_SCORE)
        self._accuracy_process = _Process(ACCURACY)

    def candidates(self, architectures: Sequence[Architecture]) -> Candidates:
        """Return architectures with their matrix."""
        layers, mergings = self._search_space.layers, self._search_space.mergings
        rows = [
            [
                *(layer in architecture.removal for layer in layers),
                *(merging == architecture.merging for merging in mergings),
            ]
            for architecture in architectures
        ]
        width = len(layers) + len(mergings)
        return Candidates(architectures, np.array(rows, float).reshape(len(rows), width))

    def log_score(self, architecture: Architecture) -> float:
        """Return the logarithm of an architecture's score; measures the score if necessary."""
        if architecture not in self._scores:
            self._scores[architecture] = float(np.log(self._score(architecture) + LEAST_SCORE))
        return self._scores[architecture]

    def is_scored(self, architecture: Architecture) -> bool:
        """Return whether an architecture's score is known."""
        return architecture in self._scores

    def scores(self) -> Mapping[Architecture, float]:
        """Return the logarithms of all known scores.

        They include every architecture considered along the NOSE path, and each merging alone.
        """
        if not self._path_scored:
            self._path_scored = True
            current = RemovalSet()
            for merging in self._search_space.mergings:
                self.log_score(Architecture(current, merging))
            while len(current) < self._max_removed:
                left = [layer for layer in self._search_space.layers if layer not in current]
                steps = (Architecture(current.add(layer)) for layer in left)
                current = min(steps, key=self.log_score).removal
        return self._scores

    def log_scores(self, candidates: Candidates) -> Prediction:
        """Return the logarithms of the scores: exact where known, predicted elsewhere."""
        scores = self.scores()
        last = self._last_log_scores
        if last and last[0] is candidates and last[1] == len(scores):
            return last[2]
        exact = np.array([scores.get(each, np.nan) for each in candidates.architectures])
        unknown = np.isnan(exact)
        if not unknown.any():
            return Prediction(exact, np.zeros(len(exact)))
        known = self.candidates(list(scores))
        values = np.array(list(scores.values()))
        center = values[: FITTED_AT[0]].mean()
        posterior = self._score_process.condition(_by_size(known.features), values - center)
        mean, deviation = posterior.at(_by_size(candidates.features))
        prediction = Prediction(
            np.where(unknown, mean + center, exact), np.where(unknown, deviation, 0.0)
        )
        self._last_log_scores = candidates, len(scores), prediction
        return prediction

    def accuracies(
        self, candidates: Candidates, observed: Mapping[Architecture, float]
    ) -> Prediction:
        """Return the predicted accuracies given the observed ones."""
        odds = self._log_odds(candidates, observed)
        above, below = (from_log_odds(odds.mean + sign * odds.deviation) for sign in (1, -1))
        return Prediction(from_log_odds(odds.mean), (above - below) / 2)

    def upper_bounds(
        self, candidates: Candidates, observed: Mapping[Architecture, float], sigmas: float
    ) -> Array:
        """Return the accuracies that lie ``sigmas`` standard deviations above their means.

        The deviation includes the noise of an evaluation.
        """
        odds = self._log_odds(candidates, observed)
        return from_log_odds(odds.mean + sigmas * np.hypot(odds.deviation, ACCURACY.noise))

    def _log_odds(
        self, candidates: Candidates, observed: Mapping[Architecture, float]
    ) -> Prediction:
        """Return the predicted log odds.

        A predicted score adds uncertainty: the change in the mean if it were one standard deviation
        higher.
        """
        self.scores()
        for architecture in observed:
            self.log_score(architecture)
        score = self.log_scores(candidates)
        mean, deviation = self._log_odds_at(candidates.features, score.mean, observed)
        if not score.deviation.any():
            return Prediction(mean, deviation)
        above = score.mean + score.deviation
        worse, _ = self._log_odds_at(candidates.features, above, observed)
        return Prediction(mean, np.hypot(deviation, worse - mean))

    def _log_odds_at(
        self, features: Array, level: Array, observed: Mapping[Architecture, float]
    ) -> Prediction:
        prior = self._prior(level)
        inputs = Inputs(features, level)
        if not observed:
            return Prediction(prior, prior_deviation(inputs, ACCURACY))
        seen = self.candidates(list(observed))
        seen_level = np.array([self.log_score(architecture) for architecture in observed])
        values = log_odds(np.array(list(observed.values()))) - self._prior(seen_level)
        posterior = self._accuracy_process.condition(Inputs(seen.features, seen_level), values)
        mean, deviation = posterior.at(inputs)
        # Wider if the observations scatter more than the process expects; never narrower.
        return Prediction(prior + mean, deviation * max(1.0, posterior.loo_z_score()))

    def _prior(self, level: Array) -> Array:
        return log_odds(self._baseline / (1 + np.exp(level)))


def log_odds(accuracy: Array) -> Array:
    """Return the log odds of accuracies, which are fractions."""
    return np.log((accuracy + SOFTNESS) / (1 - accuracy + SOFTNESS))


def from_log_odds(odds: Array) -> Array:
    """Return the accuracies, 0..1, of log odds."""
    return np.clip((1 + 2 * SOFTNESS) / (1 + np.exp(-odds)) - SOFTNESS, 0.0, 1.0)


class _Process:
    """A Gaussian process whose hyperparameters are fitted to the first so many observations.

    They depend on nothing but the observations and their order.
    """

    def __init__(self, defaults: Hyperparameters) -> None:
        self._fitted = {0: defaults}

    def condition(self, inputs: Inputs, values: Array) -> Posterior:
        count = max((count for count in FITTED_AT if count <= len(values)), default=0)
        if count not in self._fitted:
            first = Inputs(inputs.features[:count], inputs.level[:count])
            self._fitted[count] = fit(first, values[:count], self._fitted[0])
        return Posterior(inputs, values, self._fitted[count])


def _by_size(features: Array) -> Inputs:
    return Inputs(features, features.sum(1))
