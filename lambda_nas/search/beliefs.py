"""What is believed of every removal set: first from the prior's score, then from finished trials.

Two Gaussian processes. One guesses the score (relative entropy) of sets that have not been scored,
from those that have, so that only sets worth it are. The other one guesses accuracies: its prior
mean falls with the score, and it learns from finished trials how it really does, which layers are
better or worse than their score, and which sets.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.gaussian_process import (
    Hyperparameters,
    Posterior,
    Sets,
    fit,
    prior_deviation,
)

Array = NDArray[np.float64]
Score = Callable[[RemovalSet], float]

LOG_SCORE = Hyperparameters(
    offset=3.0, layer=1.0, joint=0.5, joint_length=3.0, along=1.5, along_length=4.0, noise=0.05
)
"""A priori; the level is the number of layers removed."""

ACCURACY = Hyperparameters(
    offset=0.05, layer=0.02, joint=0.03, joint_length=3.0, along=0.1, along_length=1.5, noise=0.01
)
"""A priori; the level is the logarithm of the score."""

LEAST_SCORE = 1e-4
"""In nats: scores below are as good as none."""

FITTED_AT = tuple(round(4 * 1.3**step) for step in range(30))
"""Numbers of observations at which hyperparameters are fitted again."""


class Candidates(NamedTuple):
    """Removal sets and the same as a matrix ``[sets, layers]``, 1.0 where a layer is removed."""

    sets: Sequence[RemovalSet]
    members: Array


class Guess(NamedTuple):
    """Mean and standard deviation, ``[sets]`` each."""

    mean: Array
    deviation: Array


class Beliefs:
    """Scores sets when asked to, and guesses what it has not been told.

    Args:
        layers: Layers that may be removed.
        score: The prior's score of a set, not negative, lower is better. Called once a set.
        baseline: Accuracy of the unpruned model.
        depth: How many layers may be removed at once.
    """

    def __init__(self, layers: Sequence[int], score: Score, *, baseline: float, depth: int) -> None:
        self._layers = tuple(layers)
        self._score = score
        self._baseline = baseline
        self._depth = depth
        self._scores: dict[RemovalSet, float] = {}
        self._walked = False
        self._guessed: tuple[Candidates, int, Guess] | None = None
        self._of_score = _Process(LOG_SCORE)
        self._of_accuracy = _Process(ACCURACY)

    def candidates(self, sets: Sequence[RemovalSet]) -> Candidates:
        """Return sets with their matrix."""
        rows = [[layer in removal for layer in self._layers] for removal in sets]
        return Candidates(sets, np.array(rows, float).reshape(len(sets), len(self._layers)))

    def log_score(self, removal: RemovalSet) -> float:
        """Return the logarithm of a set's score, scoring it if that has not been done."""
        if removal not in self._scores:
            self._scores[removal] = float(np.log(self._score(removal) + LEAST_SCORE))
        return self._scores[removal]

    def is_scored(self, removal: RemovalSet) -> bool:
        """Say whether a set's score is known."""
        return removal in self._scores

    def scores(self) -> Mapping[RemovalSet, float]:
        """Return the logarithms known; among them, those of the sets the NOSE path passes by."""
        if not self._walked:
            self._walked = True
            current = RemovalSet()
            while len(current) < self._depth:
                left = [layer for layer in self._layers if layer not in current]
                current = min((current.add(layer) for layer in left), key=self.log_score)
        return self._scores

    def log_scores(self, candidates: Candidates) -> Guess:
        """Return the logarithms of the scores: those known, and guesses of the others."""
        scores = self.scores()
        if self._guessed and self._guessed[0] is candidates and self._guessed[1] == len(scores):
            return self._guessed[2]
        known = self.candidates(list(scores))
        values = np.array(list(scores.values()))
        centre = values[: FITTED_AT[0]].mean()
        posterior = self._of_score.condition(_by_size(known.members), values - centre)
        mean, deviation = posterior.at(_by_size(candidates.members))
        exact = np.array([scores.get(removal, np.nan) for removal in candidates.sets])
        unknown = np.isnan(exact)
        guess = Guess(np.where(unknown, mean + centre, exact), np.where(unknown, deviation, 0.0))
        self._guessed = candidates, len(scores), guess
        return guess

    def accuracies(self, candidates: Candidates, observed: Mapping[RemovalSet, float]) -> Guess:
        """Return what to think of the accuracies after observations.

        A guessed score adds to the uncertainty what the accuracy would differ if it were one
        standard deviation higher.
        """
        self.scores()
        for removal in observed:
            self.log_score(removal)
        score = self.log_scores(candidates)
        mean, deviation = self._accuracies_at(candidates.members, score.mean, observed)
        if not score.deviation.any():
            return Guess(mean, deviation)
        worse, _ = self._accuracies_at(candidates.members, score.mean + score.deviation, observed)
        return Guess(mean, np.hypot(deviation, worse - mean))

    def _accuracies_at(
        self, members: Array, level: Array, observed: Mapping[RemovalSet, float]
    ) -> Guess:
        prior = self._baseline * np.exp(-np.exp(level))
        sets = Sets(members, level)
        if not observed:
            return Guess(prior, prior_deviation(sets, ACCURACY))
        seen = self.candidates(list(observed))
        seen_level = np.array([self.log_score(removal) for removal in observed])
        values = np.array(list(observed.values())) - self._baseline * np.exp(-np.exp(seen_level))
        posterior = self._of_accuracy.condition(Sets(seen.members, seen_level), values)
        mean, deviation = posterior.at(sets)
        return Guess(prior + mean, deviation)


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
