from math import comb

import pytest

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import InfeasibleError
from lambda_nas.search.job import Limits
from lambda_nas.search.judge import Judge
from lambda_nas.search.pricing import feasible_sizes
from lambda_nas.search.values import FrontPoint


class TableScorer:
    """Scores by a table: the judge asks for nothing else."""

    def __init__(self, table):
        self.table = table

    def relative_entropy(self, removal):
        return self.table[removal.layers]


def price(params=100, memory=100, throughput=1.0, speedup=1.0):
    return Price(throughput, speedup, 1.0, memory, params, 10)


def member(*layers, trial=0):
    return FrontPoint(trial, RemovalSet.of(layers), 0.7, 0, price(), None)


def test_hopeless_only_against_a_member_that_is_no_dearer():
    judge = Judge(TableScorer({(0,): 1.0, (1,): 3.0, (1, 2): 3.0}), range(3), (1, 2))
    front = [member(0, trial=7)]
    assert judge.hopeless(RemovalSet.of([1]), front) == "prior: hopeless against trial 7 {0}"
    assert judge.hopeless(RemovalSet.of([1, 2]), front) is None


def test_twice_the_score_is_not_yet_hopeless():
    judge = Judge(TableScorer({(0,): 1.0, (1,): 2.0}), range(2), (1,))
    assert judge.hopeless(RemovalSet.of([1]), [member(0)]) is None


def test_known():
    judge = Judge(TableScorer({}), range(4), (2,))
    taken = {RemovalSet.of([0, 1])}
    assert judge.known(RemovalSet(), taken) == "nothing removed: this is the baseline"
    assert judge.known(RemovalSet.of([1]), taken) == "1 layers removed is outside the limits"
    assert judge.known(RemovalSet.of([0, 1]), taken) == "already measured"
    assert judge.known(RemovalSet.of([0, 2]), taken) is None


def test_every_set_within_bounds_is_found_once_and_no_more():
    judge = Judge(TableScorer({}), range(5), (1, 3))
    taken = set()
    while (found := judge.first_untaken(taken)) is not None:
        assert found not in taken
        taken.add(found)
    assert len(taken) == comb(5, 1) + comb(5, 3)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (Limits(), (1, 2)),
        (Limits(max_params=80), (2,)),
        (Limits(max_memory_bytes=90), (1, 2)),
        (Limits(min_throughput=1.15), (2,)),
        (Limits(min_speedup=1.1), (1, 2)),
    ],
)
def test_feasible_sizes(limits, sizes):
    prices = {0: price(), 1: price(90, 90, 1.1, 1.1), 2: price(80, 80, 1.2, 1.2)}
    assert feasible_sizes(prices, limits) == sizes


def test_nothing_feasible_names_the_nearest():
    prices = {0: price(), 1: price(90, 80, 1.1, 1.1)}
    with pytest.raises(InfeasibleError, match=r"cheapest, 1 layers removed, has 90 params"):
        feasible_sizes(prices, Limits(min_speedup=1.5))
