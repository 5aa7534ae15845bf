from math import comb

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.judge import Judge
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
