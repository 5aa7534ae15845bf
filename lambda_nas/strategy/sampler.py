"""An Optuna sampler for architectures whose price is known before they are evaluated.

It works with any study whose objective evaluates the architecture that the trial's parameters
describe and returns (accuracy, throughput, memory).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import LambdaNasError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.acquisition import (
    Gain,
    Measured,
    accuracies_to_beat,
    expected_improvement,
)
from lambda_nas.strategy.feasible_space import FeasibleSpace
from lambda_nas.strategy.observations import Observations, read_observations
from lambda_nas.strategy.optuna_trials import distributions
from lambda_nas.strategy.surrogate import Candidates, Score, Surrogate

SHORTLIST = 4
"""How many of the most promising architectures are scored at a time."""

ROUNDS = 6
"""How often a shortlist is scored before the best scored architecture is proposed."""

GATE_SIGMAS = 5.0
"""An architecture is rejected if the front is so many standard deviations above its mean.

The best of hundreds of architectures lies three above by selection alone, and what the surrogate
learned near the front holds less well elsewhere: with four, at 32 trials of 128, 2.1% of the front
of the repaired digits were rejected (benchmarks/samplers.py)."""


class ExhaustedError(LambdaNasError, LookupError):
    """Every architecture within the constraints has been proposed."""


class GateDecision(NamedTuple):
    """The highest credible accuracy of an architecture, and the accuracy that it has to beat."""

    upper_bound: float
    to_beat: float

    @property
    def rejects(self) -> bool:
        """Whether the architecture is not expected to enter the front."""
        return self.upper_bound <= self.to_beat


class Suggestion(NamedTuple):
    """A trial that has begun, and the study's observations just before."""

    trial: Trial
    architecture: Architecture
    observations: Observations


class RemovalSampler(BaseSampler):
    """Proposes the architecture of highest expected hypervolume improvement, none twice.

    The surrogate (``lambda_nas.strategy.surrogate``) starts at the prior's score and learns from
    finished trials. Its state is in the study alone: a new sampler continues where another stopped.

    Args:
        search_space: What may be removed, and how tokens may be merged.
        prices: Prices of the unpruned model and of all cost signatures that an architecture may
            have.
        score: Returns the prior's score of an architecture: not negative, lower is better. It must
            be picklable for the sampler to be, and is called once per architecture.
        baseline: Accuracy of the unpruned model, a fraction.
        constraints: Constraints on the price of an architecture.
        seed: Random seed of the candidates where the space is too large to consider all.

    Examples:
        >>> from lambda_nas.cost.measurement import Price
        >>> by_number = {n: Price(100 + 5 * n, 1 + n / 20, 1.0, 100 - n, 9, 9) for n in range(4)}
        >>> prices = PriceTable.by_number((0, 1, 2), by_number)
        >>> space = SearchSpace((0, 1, 2))
        >>> def score(architecture):
        ...     return sum(architecture.removal) / 10
        >>> sampler = RemovalSampler(space, prices, score, baseline=0.9)
        >>> directions = ["maximize", "maximize", "minimize"]
        >>> study = optuna.create_study(directions=directions, sampler=sampler)
        >>> str(space.to_architecture(study.ask(distributions(space)).params))
        '{0,1,2}'
    """

    def __init__(
        self,
        search_space: SearchSpace,
        prices: PriceTable,
        score: Score,
        *,
        baseline: float,
        constraints: Constraints | None = None,
        seed: int | None = None,
    ) -> None:
        self._search_space = search_space
        self._prices = prices
        self._gains: dict[Architecture, Gain] = {}
        self._feasible = FeasibleSpace(search_space, prices, constraints or Constraints())
        self._surrogate = Surrogate(
            search_space, score, baseline=baseline, max_removed=self._feasible.max_removed
        )
        self._every: Candidates | None = None
        self._observations: Observations | None = None
        self._asked: set[int] = set()
        self._random = np.random.default_rng(seed)
        self._independent = RandomSampler(seed)

    def ask(self, study: optuna.Study) -> Suggestion:
        """Begin the study's next trial, queued or proposed; read its trials only once.

        Raises:
            ExhaustedError: If no architecture is left and none is queued.
        """
        observations = read_observations(study, self._search_space)
        if not observations.queued and self._leaves_none(observations.taken):
            raise _exhausted()
        # ``study.ask`` calls ``sample_relative`` unless it takes a trial from the queue.
        self._observations = observations
        try:
            trial = study.ask(distributions(self._search_space))
        finally:
            self._observations = None
        self._asked.add(trial.number)
        return Suggestion(trial, self._search_space.to_architecture(trial.params), observations)

    def propose(self, observations: Observations) -> Architecture:
        """Return the architecture to evaluate next.

        Raises:
            ExhaustedError: If none is left.
        """
        candidates = self._candidates(observations)
        for _ in range(ROUNDS):
            order = self._ranked(candidates, observations)
            shortlist = [candidates.architectures[index] for index in order[:SHORTLIST]]
            if self._surrogate.is_scored(shortlist[0]):
                return shortlist[0]
            for architecture in shortlist:
                self._surrogate.log_score(architecture)
        order = self._ranked(candidates, observations)
        ranked = (candidates.architectures[index] for index in order)
        return next(each for each in ranked if self._surrogate.is_scored(each))

    def why_reject(self, observations: Observations, architecture: Architecture) -> str | None:
        """Return why an architecture is not expected to enter the front, or ``None``.

        Both the front and the bound come from the evaluated trials.
        """
        # A rejected architecture is proposed again only when nothing else is left.
        if architecture in observations.rejected:
            return None
        [decision] = self.gate(observations, [architecture])
        if not decision.rejects:
            return None
        return (
            f"rejected: expected to reach {decision.upper_bound:.1%} at most, and the front has "
            f"{decision.to_beat:.1%} at no higher price"
        )

    def gate(
        self, observations: Observations, architectures: Sequence[Architecture]
    ) -> list[GateDecision]:
        """Return the decisions of ``why_reject``; scores the architectures that are not scored."""
        for architecture in architectures:
            self._surrogate.log_score(architecture)
        candidates = self._surrogate.candidates(architectures)
        bounds = self._surrogate.upper_bounds(candidates, observations.observed, GATE_SIGMAS)
        front = self._measured(observations.observed)
        to_beat = accuracies_to_beat(self._gains_of(architectures), front)
        return [GateDecision(*both) for both in zip(bounds.tolist(), to_beat.tolist(), strict=True)]

    def allows(self, architecture: Architecture) -> bool:
        """Return whether an architecture differs from the unpruned model within the constraints."""
        return architecture in self._feasible

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the search space."""
        return distributions(self._search_space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Return the proposal as parameters."""
        observations = self._observations or read_observations(study, self._search_space)
        return dict(self._search_space.to_params(self.propose(observations)))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        """Sample a parameter that is not one of the search space at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stop ``study.optimize`` after the last architecture."""
        # Whoever begins trials with ``ask`` is told there, which saves reading them here.
        if trial.number in self._asked or not self._feasible.is_small:
            return
        architecture = self._search_space.to_architecture(trial.params)
        observations = read_observations(study, self._search_space)
        if self._leaves_none({*observations.taken, architecture}):
            # With ``study.ask`` there is nothing to stop.
            with suppress(RuntimeError):
                study.stop()

    def reseed_rng(self) -> None:
        """Draw other candidates than the process that this one was copied from."""
        self._random = np.random.default_rng()
        self._independent.reseed_rng()

    def _leaves_none(self, taken: set[Architecture]) -> bool:
        """Return whether nothing is left to propose; ``False`` if the space is not enumerated."""
        return self._feasible.is_small and taken.issuperset(self._feasible.enumerate())

    def _candidates(self, observations: Observations) -> Candidates:
        if not self._feasible.is_small:
            scores, observed = self._surrogate.scores(), observations.observed
            return self._surrogate.candidates(
                self._feasible.neighborhood(scores, observed, self._random)
            )
        # The surrogate recognizes the object and keeps its predictions.
        if self._every is None:
            self._every = self._surrogate.candidates(self._feasible.enumerate())
        return self._every

    def _ranked(self, candidates: Candidates, observations: Observations) -> NDArray[np.intp]:
        """Return the indices of the architectures left, most promising first.

        Rejected ones come up only if there are no others. Running trials count as if they had
        reached their predicted accuracy, so that the next proposal is worth something beside them.
        """
        front = self._measured(observations.observed)
        if observations.running:
            running = self._surrogate.candidates(list(observations.running))
            expected = self._surrogate.accuracies(running, observations.observed).mean
            front += self._measured(
                dict(zip(running.architectures, expected.tolist(), strict=True))
            )
        prediction = self._surrogate.accuracies(candidates, observations.observed)
        gains = self._gains_of(candidates.architectures)
        improvement = expected_improvement(prediction.mean, prediction.deviation, gains, front)
        margin = prediction.mean - accuracies_to_beat(gains, front)
        # Where no improvement is expected, the architecture closest to the front comes first.
        order = np.lexsort((-margin, -improvement))
        architectures = candidates.architectures
        left = [index for index in order if architectures[index] not in observations.taken]
        fresh = [index for index in left if architectures[index] not in observations.rejected]
        if not left:
            raise _exhausted()
        return np.array(fresh or left)

    def _measured(self, accuracies: Mapping[Architecture, float]) -> list[Measured]:
        return [
            Measured(accuracy, self._gain(architecture))
            for architecture, accuracy in accuracies.items()
            if self.allows(architecture)
        ]

    def _gain(self, architecture: Architecture) -> Gain:
        if architecture not in self._gains:
            price, unpruned = self._prices.of(architecture), self._prices.unpruned
            self._gains[architecture] = (
                price.throughput / unpruned.throughput,
                max(0.0, 1 - price.memory_bytes / unpruned.memory_bytes),
            )
        return self._gains[architecture]

    def _gains_of(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        gains = [self._gain(architecture) for architecture in architectures]
        return np.array(gains).reshape(len(gains), 2)


def _exhausted() -> ExhaustedError:
    return ExhaustedError("all architectures within the constraints are evaluated")
