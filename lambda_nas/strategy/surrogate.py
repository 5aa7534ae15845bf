"""What is believed of every architecture: first from the prior's score, then from finished trials.

Two Gaussian processes. One guesses the score (relative entropy) of sets that have not been scored,
from those that have, so that only sets worth it are. The other one guesses accuracies: its prior
mean falls with the score, and it learns from finished trials how it really does, which layers are
better or worse than their score, and which sets. A set is a removal set here, with or without a way
to merge tokens, which counts as if it were one more layer.

Accuracies are guessed as log odds: there, sets of about one score lie equally far apart whether
most images are still right or few (on the digits' 4096 sets 0.1 to 0.3, repaired or not, where
accuracies lie 0.5 to 5 points apart).
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
    Posterior,
    Sets,
    fit,
    prior_deviation,
)

Array = NDArray[np.float64]
Score = Callable[[Architecture], float]

LOG_SCORE = Hyperparameters(
    offset=3.0, layer=1.0, joint=0.5, joint_length=3.0, along=1.5, along_length=4.0, noise=0.05
)
"""A priori; the level is the number of layers removed, a merging being one more."""

ACCURACY = Hyperparameters(
    offset=0.5, layer=0.2, joint=0.3, joint_length=3.0, along=1.0, along_length=1.5, noise=0.15
)
"""A priori, of log odds; the level is the logarithm of the score."""

LEAST_SCORE = 1e-4
"""In nats: scores below are as good as none."""

FITTED_AT = tuple(round(4 * 1.3**step) for step in range(30))
"""Numbers of observations at which hyperparameters are fitted again."""

SOFTNESS = 0.005
"""Added to accuracies and errors, so that the log odds of 0 and 1 are finite."""


class Candidates(NamedTuple):
    """Architectures and the same as a matrix ``[sets, layers and mergings]``.

    It is 1.0 where a layer is removed, and where tokens are merged in that way.
    """

    sets: Sequence[Architecture]
    members: Array


class Prediction(NamedTuple):
    """Mean and standard deviation, ``[sets]`` each."""

    mean: Array
    deviation: Array


class Surrogate:
    """Scores sets when asked to, and guesses what it has not been told.

    Args:
        search_space: What may be removed, and how tokens may be merged.
        score: The prior's score of a set, not negative, lower is better. Called once a set.
        baseline: Accuracy of the unpruned model.
        depth: How many layers may be removed at once.
    """

    def __init__(
        self, search_space: SearchSpace, score: Score, *, baseline: float, depth: int
    ) -> None:
        self._search_space = search_space
        self._score = score
        self._baseline = baseline
        self._depth = depth
        self._scores: dict[Architecture, float] = {}
        self._walked = False
        self._guessed: tuple[Candidates, int, Prediction] | None = None
        self._of_score = _Process(LOG_SCORE)
        self._of_accuracy = _Process(ACCURACY)

    def candidates(self, sets: Sequence[Architecture]) -> Candidates:
        """Return sets with their matrix."""
        layers, mergings = self._search_space.layers, self._search_space.mergings
        rows = [
            [
                *(layer in one.removal for layer in layers),
                *(merging == one.merging for merging in mergings),
            ]
            for one in sets
        ]
        width = len(layers) + len(mergings)
        return Candidates(sets, np.array(rows, float).reshape(len(sets), width))

    def log_score(self, one: Architecture) -> float:
        """Return the logarithm of a set's score, scoring it if that has not been done."""
        if one not in self._scores:
            self._scores[one] = float(np.log(self._score(one) + LEAST_SCORE))
        return self._scores[one]

    def is_scored(self, one: Architecture) -> bool:
        """Say whether a set's score is known."""
        return one in self._scores

    def scores(self) -> Mapping[Architecture, float]:
        """Return the logarithms known.

        Among them are those of the sets that the NOSE path passes by, and of each merging alone.
        """
        if not self._walked:
            self._walked = True
            current = RemovalSet()
            for merging in self._search_space.mergings:
                self.log_score(Architecture(current, merging))
            while len(current) < self._depth:
                left = [layer for layer in self._search_space.layers if layer not in current]
                steps = (Architecture(current.add(layer)) for layer in left)
                current = min(steps, key=self.log_score).removal
        return self._scores

    def log_scores(self, candidates: Candidates) -> Prediction:
        """Return the logarithms of the scores: those known, and guesses of the others."""
        scores = self.scores()
        if self._guessed and self._guessed[0] is candidates and self._guessed[1] == len(scores):
            return self._guessed[2]
        exact = np.array([scores.get(one, np.nan) for one in candidates.sets])
        unknown = np.isnan(exact)
        if not unknown.any():
            return Prediction(exact, np.zeros(len(exact)))
        known = self.candidates(list(scores))
        values = np.array(list(scores.values()))
        centre = values[: FITTED_AT[0]].mean()
        posterior = self._of_score.condition(_by_size(known.members), values - centre)
        mean, deviation = posterior.at(_by_size(candidates.members))
        guess = Prediction(
            np.where(unknown, mean + centre, exact), np.where(unknown, deviation, 0.0)
        )
        self._guessed = candidates, len(scores), guess
        return guess

    def accuracies(
        self, candidates: Candidates, observed: Mapping[Architecture, float]
    ) -> Prediction:
        """Return what to think of the accuracies after observations."""
        odds = self._log_odds(candidates, observed)
        above, below = (from_log_odds(odds.mean + sign * odds.deviation) for sign in (1, -1))
        return Prediction(from_log_odds(odds.mean), (above - below) / 2)

    def ceilings(
        self, candidates: Candidates, observed: Mapping[Architecture, float], doubt: float
    ) -> Array:
        """Return the most that may be measured, ``doubt`` standard deviations granted."""
        odds = self._log_odds(candidates, observed)
        return from_log_odds(odds.mean + doubt * np.hypot(odds.deviation, ACCURACY.noise))

    def _log_odds(
        self, candidates: Candidates, observed: Mapping[Architecture, float]
    ) -> Prediction:
        """Return what to think of the log odds.

        A guessed score adds to the uncertainty what they would differ if it were one standard
        deviation higher.
        """
        self.scores()
        for one in observed:
            self.log_score(one)
        score = self.log_scores(candidates)
        mean, deviation = self._log_odds_at(candidates.members, score.mean, observed)
        if not score.deviation.any():
            return Prediction(mean, deviation)
        above = score.mean + score.deviation
        worse, _ = self._log_odds_at(candidates.members, above, observed)
        return Prediction(mean, np.hypot(deviation, worse - mean))

    def _log_odds_at(
        self, members: Array, level: Array, observed: Mapping[Architecture, float]
    ) -> Prediction:
        prior = self._prior(level)
        sets = Sets(members, level)
        if not observed:
            return Prediction(prior, prior_deviation(sets, ACCURACY))
        seen = self.candidates(list(observed))
        seen_level = np.array([self.log_score(one) for one in observed])
        values = log_odds(np.array(list(observed.values()))) - self._prior(seen_level)
        posterior = self._of_accuracy.condition(Sets(seen.members, seen_level), values)
        mean, deviation = posterior.at(sets)
        # Never surer than the trials so far bear out.
        return Prediction(prior + mean, deviation * max(1.0, posterior.loo_z_score()))

    def _prior(self, level: Array) -> Array:
        return log_odds(self._baseline / (1 + np.exp(level)))


def log_odds(accuracy: Array) -> Array:
    """Return the log odds of accuracies, fractions."""
    return np.log((accuracy + SOFTNESS) / (1 - accuracy + SOFTNESS))


def from_log_odds(odds: Array) -> Array:
    """Return the accuracies, 0..1, of log odds."""
    return np.clip((1 + 2 * SOFTNESS) / (1 + np.exp(-odds)) - SOFTNESS, 0.0, 1.0)


class _Process:
    """Fits the hyperparameters anew to the first so many observations.

    So they depend on nothing but the observations and their order.
    """

    def __init__(self, defaults: Hyperparameters) -> None:
        self._fitted = {0: defaults}

    def condition(self, sets: Sets, values: Array) -> Posterior:
        count = max((count for count in FITTED_AT if count <= len(values)), default=0)
        if count not in self._fitted:
            first = Sets(sets.members[:count], sets.level[:count])
            self._fitted[count] = fit(first, values[:count], self._fitted[0])
        return Posterior(sets, values, self._fitted[count])


def _by_size(members: Array) -> Sets:
    return Sets(members, members.sum(1))
