"""Scores of all removal sets, from a table that `oracle.py` wrote, and how good each of them is."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from exhaustive import code_of
from numpy.typing import NDArray
from oracle_table import OracleTable
from scipy.stats import rankdata

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.surrogate import Surrogate

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

PAPER = ("0,2,4", "0,2,4,6", "0,1,3,4,6", "0,1,3,4,6,9")
"""The paper's choices: DeiT-T and DeiT-S (3 and 4 layers), DeiT-B (5 and 6)."""

RESAMPLES = 200
SPLITS = 50


class Score(NamedTuple):
    """A score of every removal set, lower is better, and the sets that must be run for it."""

    name: str
    values: Array
    run: Sequence[RemovalSet]
    labels: bool = False


class Quality(NamedTuple):
    """The quality of a score: Spearman overall, per size and their mean; what its choices lose.

    `doubt` is the standard error of the mean's difference from that of the first score, by
    resampling the evaluation images.
    """

    overall: float
    by_size: dict[int, float]
    mean: float
    doubt: float
    regret: float


class Fixed(NamedTuple):
    """The rank of a fixed removal set among all of its size; `rank` 1 is the best.

    `rival` is what relative entropy chooses.
    """

    removal: RemovalSet
    top1: float
    rank: int
    sets: int
    best: float
    rival: RemovalSet
    rival_top1: float


def scores(table: OracleTable) -> list[Score]:
    """Return all scores, the reference first."""
    layers, everything = table.layers, table.sets
    entropy, transfer, error = (
        array.astype(float)
        for array in (table.relative_entropy, table.transfer_entropy, table.feature_error)
    )
    disagreement, both = 1.0 - table.agreement.astype(float), entropy * error
    accuracy = table.accuracy("removal")
    drop = accuracy[0] - accuracy
    singles = [RemovalSet.of([layer]) for layer in layers]
    pairs = [*singles, *map(RemovalSet, combinations(layers, 2))]
    predicted, path = predict(entropy, table)
    predicted_error, error_path = predict(error, table)

    def total(values: Array) -> Array:
        return additive(values, layers)

    return [
        Score("relative entropy", entropy, everything),
        Score("abs. transfer entropy", np.abs(transfer), everything),
        Score("transfer entropy", transfer, everything),
        Score("disagreement", disagreement, everything),
        Score("feature error", error, everything),
        Score("relative entropy x feature error", both, everything),
        Score("relative entropy, layers", total(entropy), singles),
        Score("abs. transfer entropy, layers", total(np.abs(transfer)), singles),
        Score("transfer entropy, layers", total(transfer), singles),
        Score("feature error, layers", total(error), singles),
        Score("accuracy drop, layers", total(drop), singles, labels=True),
        Score("relative entropy, pairs", pairwise(entropy, layers), pairs),
        Score("feature error, pairs", pairwise(error, layers), pairs),
        Score("relative entropy, predicted", predicted, path),
        Score("feature error, predicted", predicted_error, error_path),
        # Of no use to a search: what is known of a repair once all is known without it.
        Score("accuracy drop", drop, everything, labels=True),
    ]


def additive(values: Array, layers: tuple[int, ...]) -> Array:
    """Return the sum of each set's layers' values alone."""
    return _members(len(layers)) @ values[_codes(layers)]


def pairwise(values: Array, layers: tuple[int, ...]) -> Array:
    """Return that sum plus what each pair of layers has beyond its two layers.

    Exact where a value is the squared norm of a sum of one vector a layer.
    """
    codes, members = _codes(layers), _members(len(layers))
    alone = values[codes]
    beyond = values[codes[:, None] | codes] - alone[:, None] - alone
    np.fill_diagonal(beyond, 0.0)
    return members @ alone + 0.5 * np.einsum("si,ij,sj->s", members, beyond, members)


def predict(values: Array, table: OracleTable) -> tuple[Array, list[RemovalSet]]:
    """Return the Gaussian process's predictions of the logarithms, and the greedy path's sets."""

    def score(architecture: Architecture) -> float:
        return float(values[code_of(architecture.removal, table.layers)])

    surrogate = Surrogate(
        SearchSpace(table.layers), score, baseline=1.0, max_removed=len(table.layers)
    )
    predicted = surrogate.log_scores(surrogate.candidates(list(map(Architecture, table.sets)))).mean
    return predicted, [architecture.removal for architecture in surrogate.scores()]


def block_runs(sets: Sequence[RemovalSet], depth: int) -> int:
    """Return how many blocks are run for all sets and the empty one, none twice."""
    return len(
        {
            (removal.below(block), block, block in removal)
            for removal in (RemovalSet(), *sets)
            for block in range(depth)
        }
    )


def judge(found: Sequence[Score], table: OracleTable, repair: str) -> list[Quality]:
    """Judge scores by the accuracies of the sets after a repair."""
    values, accuracy, sizes = [score.values for score in found], table.accuracy(repair), rows(table)
    (overall,) = spearman(values, accuracy, [np.arange(len(accuracy))])
    by_size = spearman(values, accuracy, list(sizes.values()))
    resampled = np.array(
        [
            np.nanmean(spearman(values, other, list(sizes.values())), axis=0)
            for other in _resampled(table.hits(repair))
        ]
    )
    doubts = (resampled - resampled[:, :1]).std(0)
    return [
        Quality(
            overall=float(overall[index]),
            by_size=dict(zip(sizes, by_size[:, index].tolist(), strict=True)),
            mean=float(np.nanmean(by_size[:, index])),
            doubt=float(doubts[index]),
            regret=float(np.mean([regret(score, accuracy, alike) for alike in sizes.values()])),
        )
        for index, score in enumerate(values)
    ]


def spearman(values: Sequence[Array], accuracy: Array, groups: Sequence[Rows]) -> Array:
    """Return `[groups, scores]` with the sign turned; NaN where all sets of a group are alike."""
    return np.array(
        [[-_ranks(one[group]) @ _ranks(accuracy[group]) for one in values] for group in groups]
    )


def regret(score: Array, accuracy: Array, alike: Rows) -> float:
    """Return the best accuracy less that of the score's choice (the mean of those that tie)."""
    chosen = score[alike] == score[alike].min()
    return float(accuracy[alike].max() - accuracy[alike][chosen].mean())


def ceiling(table: OracleTable, repair: str) -> dict[int, float]:
    """Return what a perfect score would reach at each size with so few images.

    Spearman and Brown: from how well random halves of the images agree. An estimate.
    """
    hits, sizes, random = table.hits(repair), rows(table), np.random.default_rng(0)
    agreed = []
    for _ in range(SPLITS):
        half = random.permutation(hits.shape[1]) < hits.shape[1] // 2
        one, other = (hits[:, chosen].mean(1) for chosen in (half, ~half))
        agreed.append(-spearman([one], other, list(sizes.values()))[:, 0])
    mean = np.nanmean(agreed, axis=0)
    reached = np.sqrt(np.maximum(2 * mean / (1 + mean), 0.0))
    return dict(zip(sizes, reached.tolist(), strict=True))


def fixed(table: OracleTable, repair: str) -> list[Fixed]:
    """Rank the paper's removal sets; return nothing for a model without 12 layers."""
    if table.layers != tuple(range(12)):
        return []
    accuracy, sizes, found = table.accuracy(repair).tolist(), rows(table), []
    for removal in map(RemovalSet.parse, PAPER):
        alike = sizes[len(removal)].tolist()
        top1 = accuracy[code_of(removal, table.layers)]
        rival = min(alike, key=table.relative_entropy.__getitem__)
        found.append(
            Fixed(
                removal=removal,
                top1=top1,
                rank=1 + sum(accuracy[code] > top1 for code in alike),
                sets=len(alike),
                best=max(accuracy[code] for code in alike),
                rival=table.sets[rival],
                rival_top1=accuracy[rival],
            )
        )
    return found


def rows(table: OracleTable) -> dict[int, Rows]:
    """Return the codes of each size at which there is a choice."""
    return {size: np.flatnonzero(table.sizes == size) for size in range(1, len(table.layers))}


def _codes(layers: tuple[int, ...]) -> Rows:
    return np.array([code_of(RemovalSet.of([layer]), layers) for layer in layers])


def _members(layers: int) -> Array:
    codes = np.arange(1 << layers)[:, None]
    return (codes >> np.arange(layers)[::-1] & 1).astype(float)


def _ranks(values: Array) -> Array:
    """Return the ranks as a vector of norm 1 around 0, so that products are correlations."""
    ranks = rankdata(values) - (len(values) + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.asarray(ranks / np.linalg.norm(ranks))


def _resampled(hits: NDArray[np.bool_]) -> Iterator[Array]:
    random, images = np.random.default_rng(0), hits.shape[1]
    for _ in range(RESAMPLES):
        yield hits[:, random.integers(images, size=images)].mean(1)
