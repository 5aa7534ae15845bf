import random
from dataclasses import replace
from itertools import combinations
from math import prod

import pytest

from lambda_nas.records.front import hypervolume, non_dominated


def objectives(point):
    return point.accuracy, point.price.throughput, -point.price.memory_bytes


def brute_force(points):
    def beaten(point):
        mine = objectives(point)
        return any(
            all(a >= b for a, b in zip(objectives(other), mine, strict=True))
            and (objectives(other) != mine or other.trial < point.trial)
            for other in points
        )

    return sorted(
        (point for point in points if not beaten(point)),
        key=lambda point: (point.price.throughput, point.trial),
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("levels", [3, 1000])
def test_front_equals_brute_force_with_and_without_ties(seed, levels, make_point, prices):
    generator = random.Random(seed)
    points = [
        make_point(
            trial,
            [0],
            generator.randrange(levels) / levels,
            price=replace(
                prices.unpruned,
                throughput=float(generator.randrange(levels)),
                memory_bytes=generator.randrange(levels),
            ),
        )
        for trial in range(40)
    ]
    generator.shuffle(points)

    assert non_dominated(points) == brute_force(points)


def test_of_equal_trials_the_first_stays(make_point):
    late, early = make_point(7, [1], 0.5), make_point(2, [0], 0.5)
    assert non_dominated([late, early]) == [early]


def test_no_trial_has_no_front(prices):
    assert non_dominated([]) == []
    assert hypervolume([], prices.unpruned) == 0.0


def test_hypervolume_of_one_point_is_a_box(make_point, prices):
    price = replace(prices.unpruned, throughput=200.0, memory_bytes=4_000_000_000)
    # accuracy 0.5, twice the speed, a fifth of the memory saved
    assert hypervolume([make_point(0, [0], 0.5, price=price)], prices.unpruned) == pytest.approx(
        0.5 * 2.0 * 0.2
    )


def test_hypervolume_of_two_points_counts_what_they_share_once(make_point, prices):
    exact = replace(prices.unpruned, throughput=100.0, memory_bytes=4_000_000_000)
    fast = replace(prices.unpruned, throughput=200.0, memory_bytes=3_000_000_000)
    points = [make_point(0, [0], 0.8, price=exact), make_point(1, [1], 0.5, price=fast)]
    boxes = 0.8 * 1.0 * 0.2 + 0.5 * 2.0 * 0.4
    shared = 0.5 * 1.0 * 0.2

    assert hypervolume(points, prices.unpruned) == pytest.approx(boxes - shared)


def test_a_dominated_point_adds_no_volume(make_point, prices):
    good, bad = make_point(0, [0, 1], 0.8), make_point(1, [0], 0.7)
    assert hypervolume([good, bad], prices.unpruned) == pytest.approx(
        hypervolume([good], prices.unpruned)
    )


def test_a_point_that_saves_no_memory_has_no_volume(make_point, prices):
    assert hypervolume([make_point(0, [], 0.9)], prices.unpruned) == 0.0


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_equals_inclusion_and_exclusion(seed, levels, make_point, prices):
    """The volume of a union is the alternating sum over the intersections, which are boxes."""
    generator = random.Random(seed)
    baseline = replace(prices.unpruned, throughput=1000.0, memory_bytes=1000)
    boxes, points = [], []
    for trial in range(8):
        gains = [(1 + generator.randrange(levels)) / levels for _ in range(3)]
        price = replace(
            baseline, throughput=1000 * gains[1], memory_bytes=round(1000 * (1 - gains[2]))
        )
        points.append(make_point(trial, [0], gains[0], price=price))
        boxes.append((gains[0], gains[1], 1 - price.memory_bytes / 1000))
    # Larger than the unpruned model: it adds no volume.
    points.append(make_point(8, [0], 0.9, price=replace(baseline, memory_bytes=2000)))

    union = sum(
        (-1) ** (size + 1) * prod(map(min, zip(*chosen, strict=True)))
        for size in range(1, len(boxes) + 1)
        for chosen in combinations(boxes, size)
    )
    assert hypervolume(points, baseline) == pytest.approx(union, rel=1e-12)
