import re
from dataclasses import replace

import pytest

from lambda_nas.cost.constraints import Constraints, check_feasible, check_params
from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.merging_work import BlockWork, MergingWork
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import InfeasibleError
from lambda_nas.models.merging import Merging
from lambda_nas.models.search_space import SearchSpace


def price(params=100, memory=100, throughput=1.0, speedup=1.0):
    return Price(throughput, speedup, 1.0, memory, params, 10)


# Real prices are monotone; the last one is not, so that two constraints can exclude each other.
PRICES = {
    0: price(),
    1: price(5_500_000, 42_004_001, 110.019, 1.109),
    2: price(5_000_000, 40_000_000, 120.0, 1.2),
}
CROSSED = {**PRICES, 3: price(4_500_000, 44_000_000, 130.0, 1.3)}


CHOICES = SearchSpace((0, 1, 2, 3))


def isotropic(prices):
    return PriceTable.by_number(range(4), prices)


@pytest.mark.parametrize(
    ("constraints", "sizes"),
    [
        (Constraints(), {1, 2}),
        (Constraints(max_params=80), {2}),
        (Constraints(max_params=79, max_memory_bytes=80), set()),
        (Constraints(max_memory_bytes=90), {1, 2}),
        (Constraints(min_throughput=1.15), {2}),
        (Constraints(min_speedup=1.1), {1, 2}),
    ],
)
def test_constraints_decide_what_may_be_searched(constraints, sizes):
    prices = isotropic({0: price(), 1: price(90, 90, 1.1, 1.1), 2: price(80, 80, 1.2, 1.2)})
    within = {n for (n,), each in prices.by_signature.items() if n and not constraints.broken(each)}
    assert within == sizes
    if sizes:
        check_feasible(prices, CHOICES, constraints)
    else:
        with pytest.raises(InfeasibleError, match="no architecture satisfies the constraints"):
            check_feasible(prices, CHOICES, constraints)


@pytest.mark.parametrize(
    ("prices", "constraints", "nearest"),
    [
        (
            PRICES,
            Constraints(min_speedup=1.5),
            "nearest to min_speedup 1.5: 2 layers removed, "
            "5000000 params, 40.00 MB, 120.00 images/s, 1.20x",
        ),
        # Memory is rounded up and speed down: as constraints, the numbers told would be satisfied.
        (
            {0: PRICES[0], 1: PRICES[1]},
            Constraints(max_memory_bytes=30_500_000, min_throughput=200),
            "nearest to max_memory 30.5MB and min_throughput 200: 1 layer removed, "
            "5500000 params, 42.01 MB, 110.01 images/s, 1.10x",
        ),
        # All the others satisfy the constraint on memory, so only that on params must be relaxed.
        (
            PRICES,
            Constraints(max_params=1000, max_memory_bytes=41_000_000),
            "nearest to max_params 1000: 2 layers removed, "
            "5000000 params, 40.00 MB, 120.00 images/s, 1.20x",
        ),
        # Each can be satisfied, both can't: relaxing either will do.
        (
            CROSSED,
            Constraints(max_memory_bytes=41_000_000, min_speedup=1.25),
            "nearest to min_speedup 1.25: 2 layers removed, "
            "5000000 params, 40.00 MB, 120.00 images/s, 1.20x; "
            "nearest to max_memory 41MB: 3 layers removed, "
            "4500000 params, 44.00 MB, 130.00 images/s, 1.30x",
        ),
        # Each is out of reach, with another nearest.
        (
            CROSSED,
            Constraints(max_memory_bytes=39_000_000, min_speedup=2),
            "nearest to max_memory 39MB: 2 layers removed, "
            "5000000 params, 40.00 MB, 120.00 images/s, 1.20x; "
            "nearest to min_speedup 2: 3 layers removed, "
            "4500000 params, 44.00 MB, 130.00 images/s, 1.30x",
        ),
    ],
)
def test_nothing_feasible_names_the_nearest_to_each_constraint(prices, constraints, nearest):
    message = f"no architecture satisfies the constraints; {nearest}: relax a constraint"
    with pytest.raises(InfeasibleError, match=f"^{re.escape(message)}$"):
        check_feasible(isotropic(prices), CHOICES, constraints)


def test_signatures_of_several_stages_are_written_out():
    priced = {(0, 0): price(), (1, 0): price(speedup=1.2), (1, 2): price(speedup=1.1)}
    prices = PriceTable(((0,), (1, 2)), priced)
    search_space = SearchSpace((0, 1, 2))
    check_feasible(prices, search_space, Constraints(min_speedup=1.15))
    with pytest.raises(InfeasibleError, match=r"nearest to min_speedup 2: 1\+0 layers removed"):
        check_feasible(prices, search_space, Constraints(min_speedup=2))


def test_params_are_checked_by_themselves():
    check_params({(1,): 900, (2,): 800}, Constraints(max_params=800, min_speedup=1000))
    check_params({(1,): 900}, Constraints())
    message = "nearest to max_params 799: 2 layers removed, 800 params: relax a constraint"
    with pytest.raises(InfeasibleError, match=message):
        check_params({(1,): 900, (2,): 800}, Constraints(max_params=799))


def merging_prices():
    """Four blocks of 40 MACs; a block that merges takes 10 off all that follow."""
    work = MergingWork(
        stream=0,
        whole=BlockWork(40, 60),
        merging=tuple(BlockWork(35 - 10 * n, 50) for n in range(4)),
        bare=tuple(BlockWork(20 - 5 * n, 40) for n in range(4)),
    )
    merged = MergedPrices(1.0, 0.0, (Merging(8),), {8: work})
    base = {n: Price(1 + n / 10, 1 + n / 10, 1, 100, 100 - n, 160 - 20 * n) for n in range(3)}
    return replace(PriceTable.by_number((0, 1, 2, 3), base), merged=merged)


def test_what_merging_reaches_is_feasible():
    prices, search_space = merging_prices(), SearchSpace((0, 1, 2, 3), (Merging(8),))
    # With all the attention, 80 of 160 MACs are saved.
    check_feasible(prices, search_space, Constraints(min_speedup=1.9))
    with pytest.raises(
        InfeasibleError,
        match=re.escape(
            "nearest to min_speedup 5: 0 layers removed, merging 8 from block 0, 100 params"
        ),
    ):
        check_feasible(prices, search_space, Constraints(min_speedup=5))
    with pytest.raises(InfeasibleError, match="2 layers removed, 98 params"):
        check_feasible(prices, SearchSpace((0, 1, 2, 3)), Constraints(min_speedup=1.9))
