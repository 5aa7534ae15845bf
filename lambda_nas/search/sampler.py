"""An Optuna sampler for removal sets whose price is known before they are measured.

It stands on its own: any ``study.optimize`` whose objective removes the layers that the trial's
parameters name, and returns (accuracy, throughput, memory), can use it.
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

from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import LambdaNasError
from lambda_nas.search.acquisition import Gain, Measured, expected_improvement, level_to_beat
from lambda_nas.search.beliefs import Beliefs, Candidates, Score
from lambda_nas.search.prices import PriceList, Signature, count_sets, sets_with
from lambda_nas.search.trials import RUNGS, distributions, to_params, to_removal

WHOLE_SPACE = 8192
"""Up to so many sets all are considered each time, beyond that the surroundings of the best."""

ANCHORS = 3
"""How many of the best sets of each size have their surroundings considered."""

STRANGERS = 512
"""How many sets drawn at random are considered besides."""

SHORTLIST = 4
"""How many of the most promising sets are scored at a time."""

ROUNDS = 6
"""How often that is done before the best set scored so far is proposed."""

DOUBT = 5.0
"""Standard deviations: how far above its mean an accuracy is still thought possible. The best of
hundreds of sets lies three above by selection alone, and what was learned from sets near the front
holds less well elsewhere: with four, at 32 trials of 128, 2.1% of the front of the repaired digits
were refused (benchmarks/samplers.py)."""


class ExhaustedError(LambdaNasError):
    """Every set within the limits has been tried."""


class Standing(NamedTuple):
    """What a study's trials say of sets: measured, not to be proposed, refused, in flight, queued.

    Those in the queue have no parameters yet: they are a number.
    """

    observed: dict[RemovalSet, float]
    taken: set[RemovalSet]
    refused: set[RemovalSet]
    pending: set[RemovalSet]
    queued: int


class Chance(NamedTuple):
    """The most that is thought possible of a set's accuracy, and the accuracy it has to beat."""

    bound: float
    beat: float

    @property
    def is_hopeless(self) -> bool:
        """Say whether the set is thought unable to enter the front."""
        return self.bound <= self.beat


class RemovalSampler(BaseSampler):
    """Proposes the removal set that promises most hypervolume at its price, never one twice.

    A posterior over all sets starts at the prior's score and learns from finished trials
    (``lambda_nas.search.beliefs``). It is kept nowhere but in the study: a new sampler takes over
    where another one stopped.

    Args:
        layers: Layers that may be removed.
        prices: Of the unpruned model and of all cost signatures that a set may have.
        score: The prior's score of a set, not negative, lower is better. Must be picklable for
            the sampler to be. The same set is not scored twice.
        baseline: Accuracy of the unpruned model, a fraction.
        seed: Of the candidates where a space is too large to consider all sets.

    Examples:
        >>> from lambda_nas.core.cost import Price
        >>> by_number = {n: Price(100 + 5 * n, 1 + n / 20, 1.0, 100 - n, 9, 9) for n in range(4)}
        >>> prices = PriceList.by_number((0, 1, 2), by_number)
        >>> score = lambda removal: sum(removal) / 10
        >>> sampler = RemovalSampler((0, 1, 2), prices, score, baseline=0.9)
        >>> directions = ["maximize", "maximize", "minimize"]
        >>> study = optuna.create_study(directions=directions, sampler=sampler)
        >>> asked = study.ask(distributions((0, 1, 2))).params
        >>> sorted(name for name, gone in asked.items() if gone)
        ['remove layer 00', 'remove layer 01', 'remove layer 02']
    """

    def __init__(
        self,
        layers: Sequence[int],
        prices: PriceList,
        score: Score,
        *,
        baseline: float,
        seed: int | None = None,
    ) -> None:
        self._layers = tuple(sorted(layers))
        self._prices = prices
        unpruned = prices.unpruned
        self._gains: dict[Signature, Gain] = {
            signature: (
                price.throughput / unpruned.throughput,
                max(0.0, 1 - price.memory_bytes / unpruned.memory_bytes),
            )
            for signature, price in prices.by_signature.items()
            if any(signature)
        }
        self._sizes = tuple(sorted(set(map(sum, self._gains))))
        self._beliefs = Beliefs(self._layers, score, baseline=baseline, depth=max(self._sizes))
        self._whole: Candidates | None = None
        self._random = np.random.default_rng(seed)
        self._independent = RandomSampler(seed)

    def propose(self, study: optuna.Study) -> RemovalSet:
        """Return the set to measure next.

        Raises:
            ExhaustedError: If every set within the limits is taken.
        """
        standing = self._standing(study)
        candidates = self._candidates(standing)
        for _ in range(ROUNDS):
            order = self._ranked(candidates, standing)
            shortlist = [candidates.sets[index] for index in order[:SHORTLIST]]
            if self._beliefs.is_scored(shortlist[0]):
                return shortlist[0]
            for removal in shortlist:
                self._beliefs.log_score(removal)
        order = self._ranked(candidates, standing)
        ranked = (candidates.sets[index] for index in order)
        return next(removal for removal in ranked if self._beliefs.is_scored(removal))

    def hopeless(self, study: optuna.Study, removal: RemovalSet) -> str | None:
        """Say why a set can't enter the front, ``DOUBT`` standard deviations granted, or ``None``.

        The front is that of the finished trials; the bound is learned from them.
        """
        # What was refused comes up again only when nothing else is left.
        if removal in self._standing(study).refused:
            return None
        [chance] = self.chances(study, [removal])
        if not chance.is_hopeless:
            return None
        bound, beat = chance
        return f"prior: at best {bound:.1%}, and the front has {beat:.1%} at no higher price"

    def chances(self, study: optuna.Study, removals: Sequence[RemovalSet]) -> list[Chance]:
        """Return what ``hopeless`` compares, after scoring the sets that have not been."""
        observed = self._standing(study).observed
        for removal in removals:
            self._beliefs.log_score(removal)
        bounds = self._beliefs.ceilings(self._beliefs.candidates(removals), observed, DOUBT)
        front = self._measured(observed)
        beat = [level_to_beat(self._gain(removal), front) for removal in removals]
        return [Chance(*chance) for chance in zip(bounds.tolist(), beat, strict=True)]

    def allows(self, removal: RemovalSet) -> bool:
        """Say whether a set is within the limits: of a signature that has a price."""
        return self._prices.signature(removal) in self._gains

    def _gain(self, removal: RemovalSet) -> Gain:
        return self._gains[self._prices.signature(removal)]

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Say whether every set within the limits is taken, and none is in the queue."""
        standing = self._standing(study)
        return not standing.queued and sum(map(self.allows, standing.taken)) == self._count()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return one boolean a layer."""
        return distributions(self._layers)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Return the proposal as parameters."""
        return dict(to_params(self.propose(study), self._layers))

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
        standing = self._standing(study)
        mine = to_removal(trial.params, self._layers)
        if sum(map(self.allows, {*standing.taken, mine})) == self._count():
            # Outside of `optimize`, who asks is told when asking.
            with suppress(RuntimeError):
                study.stop()

    def reseed_rng(self) -> None:
        """Draw other candidates than the process that this one was copied from."""
        self._random = np.random.default_rng()
        self._independent.reseed_rng()

    def _count(self) -> int:
        stages = self._prices.stages
        return sum(count_sets(signature, stages, self._layers) for signature in self._gains)

    def _standing(self, study: optuna.Study) -> Standing:
        trials = study.get_trials(deepcopy=False)
        queued = sum(trial.state == TrialState.WAITING for trial in trials)
        standing = Standing({}, set(), set(), set(), queued)
        for trial in trials:
            if not trial.params:
                continue
            removal = to_removal(trial.params, self._layers)
            if trial.state == TrialState.COMPLETE:
                standing.observed[removal] = trial.values[0]
            elif RUNGS in trial.user_attrs:
                standing.observed[removal] = max(trial.user_attrs[RUNGS])
            elif trial.state == TrialState.PRUNED:
                standing.refused.add(removal)
                continue
            elif trial.state == TrialState.RUNNING:
                standing.pending.add(removal)
            standing.taken.add(removal)
        return standing

    def _candidates(self, standing: Standing) -> Candidates:
        if self._count() > WHOLE_SPACE:
            return self._beliefs.candidates(sorted(self._surroundings(standing)))
        if self._whole is None:
            stages, layers = self._prices.stages, self._layers
            every = [s for gained in self._gains for s in sets_with(gained, stages, layers)]
            self._whole = self._beliefs.candidates(every)
        return self._whole

    def _surroundings(self, standing: Standing) -> set[RemovalSet]:
        """Return what differs by one layer, or one for another, from the best of each size."""
        scores = self._beliefs.scores()
        found: set[RemovalSet] = set()
        for size in self._sizes:
            best = sorted((s for s in scores if len(s) == size), key=scores.__getitem__)[:ANCHORS]
            measured = (s for s in standing.observed if len(s) == size)
            best += sorted(measured, key=standing.observed.__getitem__)[-ANCHORS:]
            for anchor in best:
                found.update(_neighbours(anchor, self._layers))
        for _ in range(STRANGERS):
            chosen = self._random.choice(
                self._layers, int(self._random.choice(self._sizes)), replace=False
            )
            found.add(RemovalSet.of(chosen.tolist()))
        return set(filter(self.allows, found))

    def _ranked(self, candidates: Candidates, standing: Standing) -> NDArray[np.intp]:
        """Return the indices of the sets left, most promising first.

        Refused ones come up only if there are no others.
        """
        front = self._measured(standing.observed)
        if standing.pending:
            flying = self._beliefs.candidates(list(standing.pending))
            believed = self._beliefs.accuracies(flying, standing.observed).mean
            front += self._measured(dict(zip(flying.sets, believed.tolist(), strict=True)))
        guess = self._beliefs.accuracies(candidates, standing.observed)
        improvement, margin = np.zeros(len(guess.mean)), np.zeros(len(guess.mean))
        for gain, here in self._alike(candidates):
            mean, deviation = guess.mean[here], guess.deviation[here]
            improvement[here] = expected_improvement(mean, deviation, gain, front)
            margin[here] = mean - level_to_beat(gain, front)
        # Where nothing promises anything, what comes nearest.
        order = np.lexsort((-margin, -improvement))
        left = [index for index in order if candidates.sets[index] not in standing.taken]
        fresh = [index for index in left if candidates.sets[index] not in standing.refused]
        if not left:
            raise ExhaustedError("all sets within the limits are measured")
        return np.array(fresh or left)

    def _alike(self, candidates: Candidates) -> Iterator[tuple[Gain, NDArray[np.intp]]]:
        """Yield each gain that candidates have, and the indices of those."""
        stages = [[layer in stage for stage in self._prices.stages] for layer in self._layers]
        signatures = (candidates.members @ np.array(stages, float)).astype(int)
        found, which = np.unique(signatures, axis=0, return_inverse=True)
        for index, signature in enumerate(found.tolist()):
            yield self._gains[tuple(signature)], np.flatnonzero(which.ravel() == index)

    def _measured(self, accuracies: Mapping[RemovalSet, float]) -> list[Measured]:
        return [
            Measured(accuracy, self._gain(removal))
            for removal, accuracy in accuracies.items()
            if self.allows(removal)
        ]


def _neighbours(anchor: RemovalSet, layers: Sequence[int]) -> set[RemovalSet]:
    """Return the set itself and all with a layer more, a layer less, or one exchanged."""
    gone, left = set(anchor), set(layers) - set(anchor)
    smaller = [gone - {layer} for layer in gone]
    found = [gone, *smaller, *(gone | {layer} for layer in left)]
    found += [fewer | {layer} for fewer in smaller for layer in left]
    return set(map(RemovalSet.of, found))
