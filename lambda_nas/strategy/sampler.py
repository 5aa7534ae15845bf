"""An Optuna sampler for architectures whose price is known before they are measured.

It stands on its own: any ``study.optimize`` whose objective removes the layers that the trial's
parameters name, and returns (accuracy, throughput, memory), can use it. A set is a removal set
here, with or without a way to merge tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.price_table import PriceTable, count_sets, sets_with
from lambda_nas.errors import LambdaNasError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.acquisition import Gain, Measured, expected_improvement, levels_to_beat
from lambda_nas.strategy.observations import Observations, read_observations
from lambda_nas.strategy.optuna_trials import distributions
from lambda_nas.strategy.surrogate import Candidates, Score, Surrogate

WHOLE_SPACE = 8192
"""Up to so many sets all are considered each time, beyond that the surroundings of the best."""

LOCAL_SEARCH_STARTS = 3
"""How many of the best sets of each size have their surroundings considered."""

RANDOM_CANDIDATES = 512
"""How many sets drawn at random are considered besides."""

SHORTLIST = 4
"""How many of the most promising sets are scored at a time."""

ROUNDS = 6
"""How often that is done before the best set scored so far is proposed."""

GATE_SIGMAS = 5.0
"""Standard deviations: how far above its mean an accuracy is still thought possible. The best of
hundreds of sets lies three above by selection alone, and what was learned from sets near the front
holds less well elsewhere: with four, at 32 trials of 128, 2.1% of the front of the repaired digits
were refused (benchmarks/samplers.py)."""


class ExhaustedError(LambdaNasError):
    """Every set within the limits has been tried."""


class Chance(NamedTuple):
    """The most that is thought possible of a set's accuracy, and the accuracy it has to beat."""

    bound: float
    to_beat: float

    @property
    def is_hopeless(self) -> bool:
        """Say whether the set is thought unable to enter the front."""
        return self.bound <= self.to_beat


class RemovalSampler(BaseSampler):
    """Proposes the set that promises most hypervolume at its price, never one twice.

    A posterior over all sets starts at the prior's score and learns from finished trials
    (``lambda_nas.strategy.surrogate``). It is kept nowhere but in the study: a new sampler takes
    over where another one stopped.

    Args:
        search_space: What may be removed, and how tokens may be merged.
        prices: Of the unpruned model and of all cost signatures that a set may have.
        score: The prior's score of a set, not negative, lower is better. Must be picklable for
            the sampler to be. The same set is not scored twice.
        baseline: Accuracy of the unpruned model, a fraction.
        limits: Which prices are out of the question.
        seed: Of the candidates where a space is too large to consider all sets.

    Examples:
        >>> from lambda_nas.cost.measurement import Price
        >>> by_number = {n: Price(100 + 5 * n, 1 + n / 20, 1.0, 100 - n, 9, 9) for n in range(4)}
        >>> prices = PriceTable.by_number((0, 1, 2), by_number)
        >>> space, score = SearchSpace((0, 1, 2)), lambda one: sum(one.removal) / 10
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
        self._attention = prices.attention()
        self._limits = constraints or Constraints()
        self._gains: dict[Architecture, Gain] = {}
        # Merging may bring within the limits what is beyond them.
        self._signatures = tuple(
            signature
            for signature, price in prices.by_signature.items()
            if search_space.mergings or (any(signature) and not self._limits.broken(price))
        )
        depth = max(map(sum, self._signatures))
        self._surrogate = Surrogate(search_space, score, baseline=baseline, depth=depth)
        self._whole: Candidates | None = None
        self._random = np.random.default_rng(seed)
        self._independent = RandomSampler(seed)

    def propose(self, study: optuna.Study) -> Architecture:
        """Return the set to measure next.

        Raises:
            ExhaustedError: If every set within the limits is taken.
        """
        standing = read_observations(study, self._search_space)
        candidates = self._candidates(standing)
        for _ in range(ROUNDS):
            order = self._ranked(candidates, standing)
            shortlist = [candidates.sets[index] for index in order[:SHORTLIST]]
            if self._surrogate.is_scored(shortlist[0]):
                return shortlist[0]
            for one in shortlist:
                self._surrogate.log_score(one)
        order = self._ranked(candidates, standing)
        ranked = (candidates.sets[index] for index in order)
        return next(one for one in ranked if self._surrogate.is_scored(one))

    def hopeless(self, study: optuna.Study, one: Architecture) -> str | None:
        """Say why a set can't enter the front by ``GATE_SIGMAS`` standard deviations, or ``None``.

        The front is that of the finished trials; the bound is learned from them.
        """
        # What was refused comes up again only when nothing else is left.
        if one in read_observations(study, self._search_space).refused:
            return None
        [chance] = self.chances(study, [one])
        if not chance.is_hopeless:
            return None
        bound, threshold = chance
        return f"prior: at best {bound:.1%}, and the front has {threshold:.1%} at no higher price"

    def chances(self, study: optuna.Study, sets: Sequence[Architecture]) -> list[Chance]:
        """Return what ``hopeless`` compares, after scoring the sets that have not been."""
        observed = read_observations(study, self._search_space).observed
        for one in sets:
            self._surrogate.log_score(one)
        bounds = self._surrogate.ceilings(self._surrogate.candidates(sets), observed, GATE_SIGMAS)
        to_beat = levels_to_beat(self._gains_of(sets), self._measured(observed))
        return [Chance(*chance) for chance in zip(bounds.tolist(), to_beat.tolist(), strict=True)]

    def allows(self, one: Architecture) -> bool:
        """Say whether a set is a choice: something new, and of a price within the limits."""
        return one in self._variants(one.removal)

    def _gain(self, one: Architecture) -> Gain:
        if one not in self._gains:
            price, unpruned = self._prices.of(one), self._prices.unpruned
            self._gains[one] = (
                price.throughput / unpruned.throughput,
                max(0.0, 1 - price.memory_bytes / unpruned.memory_bytes),
            )
        return self._gains[one]

    def _gains_of(self, sets: Sequence[Architecture]) -> NDArray[np.float64]:
        return np.array([self._gain(one) for one in sets]).reshape(len(sets), 2)

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Say whether every set within the limits is taken, and none is in the queue."""
        standing = read_observations(study, self._search_space)
        return not standing.queued and self._leaves_none(standing.taken)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the search space."""
        return distributions(self._search_space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Return the proposal as parameters."""
        return dict(self._search_space.to_params(self.propose(study)))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        """Sample a parameter that is none of ours at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stop ``study.optimize`` with the last set."""
        mine = self._search_space.to_architecture(trial.params)
        if self._leaves_none({*read_observations(study, self._search_space).taken, mine}):
            # Outside of `optimize`, who asks is told when asking.
            with suppress(RuntimeError):
                study.stop()

    def reseed_rng(self) -> None:
        """Draw other candidates than the process that this one was copied from."""
        self._random = np.random.default_rng()
        self._independent.reseed_rng()

    def _count(self) -> int:
        """Return how many sets there are, before limits; merged ones may be too many by twins."""
        stages, layers = self._prices.stages, self._search_space.layers
        removals = sum(count_sets(each, stages, layers) for each in self._signatures)
        return removals * (1 + len(self._search_space.mergings))

    def _leaves_none(self, taken: set[Architecture]) -> bool:
        """Say whether nothing is left to propose; in a space too large to consider, never."""
        return self._count() <= WHOLE_SPACE and taken.issuperset(self._every().sets)

    def _candidates(self, standing: Observations) -> Candidates:
        if self._count() <= WHOLE_SPACE:
            return self._every()
        return self._surrogate.candidates(sorted(self._surroundings(standing)))

    def _every(self) -> Candidates:
        if self._whole is None:
            stages, layers = self._prices.stages, self._search_space.layers
            removals = (s for each in self._signatures for s in sets_with(each, stages, layers))
            every = [one for removal in removals for one in self._variants(removal)]
            self._whole = self._surrogate.candidates(every)
        return self._whole

    def _variants(self, removal: RemovalSet) -> Iterator[Architecture]:
        """Yield what is allowed of a removal set with each way to merge tokens."""
        if self._prices.signature(removal) not in self._prices.by_signature:
            return
        for merging in self._search_space.mergings_of(removal, self._attention):
            one = Architecture(removal, merging)
            if one and not self._limits.broken(self._prices.of(one)):
                yield one

    def _surroundings(self, standing: Observations) -> set[Architecture]:
        """Return the best of each size and merging, and their surroundings.

        These differ by one layer, or one for another, or in how tokens are merged.
        """
        scores, observed = self._surrogate.scores(), standing.observed
        found: set[RemovalSet] = set()
        for kind in set(map(_kind, (*scores, *observed))):
            alike = [one for one in scores if _kind(one) == kind]
            measured = [one for one in observed if _kind(one) == kind]
            anchors = sorted(alike, key=scores.__getitem__)[:LOCAL_SEARCH_STARTS]
            anchors += sorted(measured, key=observed.__getitem__)[-LOCAL_SEARCH_STARTS:]
            for anchor in anchors:
                found.update(_neighbours(anchor.removal, self._search_space.layers))
        sizes = sorted(set(map(sum, self._signatures)))
        for _ in range(RANDOM_CANDIDATES):
            size = int(self._random.choice(sizes))
            chosen = self._random.choice(self._search_space.layers, size, replace=False)
            found.add(RemovalSet.of(chosen.tolist()))
        return {one for removal in found for one in self._variants(removal)}

    def _ranked(self, candidates: Candidates, standing: Observations) -> NDArray[np.intp]:
        """Return the indices of the sets left, most promising first.

        Refused ones come up only if there are no others.
        """
        front = self._measured(standing.observed)
        if standing.pending:
            flying = self._surrogate.candidates(list(standing.pending))
            believed = self._surrogate.accuracies(flying, standing.observed).mean
            front += self._measured(dict(zip(flying.sets, believed.tolist(), strict=True)))
        guess = self._surrogate.accuracies(candidates, standing.observed)
        gains = self._gains_of(candidates.sets)
        improvement = expected_improvement(guess.mean, guess.deviation, gains, front)
        margin = guess.mean - levels_to_beat(gains, front)
        # Where nothing promises anything, what comes nearest.
        order = np.lexsort((-margin, -improvement))
        left = [index for index in order if candidates.sets[index] not in standing.taken]
        fresh = [index for index in left if candidates.sets[index] not in standing.refused]
        if not left:
            raise ExhaustedError("all sets within the limits are measured")
        return np.array(fresh or left)

    def _measured(self, accuracies: Mapping[Architecture, float]) -> list[Measured]:
        return [
            Measured(accuracy, self._gain(one))
            for one, accuracy in accuracies.items()
            if self.allows(one)
        ]


def _kind(one: Architecture) -> tuple[int, Merging]:
    return len(one.removal), one.merging


def _neighbours(anchor: RemovalSet, layers: Sequence[int]) -> set[RemovalSet]:
    """Return the set itself and all with a layer more, a layer less, or one exchanged."""
    gone, left = set(anchor), set(layers) - set(anchor)
    smaller = [gone - {layer} for layer in gone]
    found = [gone, *smaller, *(gone | {layer} for layer in left)]
    found += [fewer | {layer} for fewer in smaller for layer in left]
    return set(map(RemovalSet.of, found))
