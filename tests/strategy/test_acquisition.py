"""Expected improvement against the front's hypervolume: exactly, and in the mean of many draws."""

import numpy as np
import pytest

from lambda_nas.cost.measurement import Price
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.front import hypervolume
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.strategy.acquisition import Measured, accuracies_to_beat, expected_improvement


def price(throughput, saved):
    return Price(throughput, throughput, 1.0, 1 - saved, 1, 1)


def volume(points):
    """The volume by a function that shares no code with what is tested here."""
    trials = [
        ParetoTrial(0, Architecture.of([0]), accuracy, 0, price(*gain)) for accuracy, gain in points
    ]
    return hypervolume(trials, price(1, 0))


def draw_front(seed, count):
    random = np.random.default_rng(seed)
    return [Measured(a, (x, y)) for a, x, y in random.random((count, 3)).tolist()]


@pytest.mark.parametrize("count", [0, 1, 5, 12])
@pytest.mark.parametrize("seed", range(5))
def test_a_certain_accuracy_improves_by_the_volume_it_adds(seed, count):
    front = draw_front(seed, count)
    gain = (0.7, 0.6)
    for accuracy in (0.1, 0.5, 0.95, front[0].accuracy if front else 0.3):
        found = expected_improvement(np.array([accuracy]), np.zeros(1), np.array([gain]), front)
        added = volume([*front, Measured(accuracy, gain)]) - volume(front)
        assert found == pytest.approx(added, abs=1e-12)


def test_an_uncertain_accuracy_improves_by_the_mean_over_its_draws():
    front, gain = draw_front(3, 6), (0.8, 0.9)
    draws = np.random.default_rng(0).normal(0.6, 0.1, 2000)
    added = [volume([*front, Measured(a, gain)]) - volume(front) for a in draws.tolist()]
    found = expected_improvement(np.array([0.6]), np.array([0.1]), np.array([gain]), front)
    assert found == pytest.approx(np.mean(added), rel=0.03)


def test_the_more_uncertain_of_two_hopeless_architectures_promises_more():
    front = [Measured(0.9, (1.0, 1.0))]
    gains = np.full((2, 2), 0.5)
    found = expected_improvement(np.full(2, 0.7), np.array([0.05, 0.1]), gains, front)
    assert 0 < found[0] < found[1]


def test_only_what_is_as_cheap_in_both_prices_has_to_be_beaten():
    front = [Measured(0.9, (1.2, 0.1)), Measured(0.8, (1.3, 0.3)), Measured(0.95, (1.0, 0.4))]
    gains = np.array([(1.1, 0.2), (1.1, 0.1), (1.4, 0.1)])
    assert accuracies_to_beat(gains, front).tolist() == [0.8, 0.9, -np.inf]


def test_each_architecture_has_a_price_of_its_own():
    front, random = draw_front(4, 8), np.random.default_rng(1)
    mean, deviation, gains = random.random(20), random.random(20) / 5, random.random((20, 2))
    together = expected_improvement(mean, deviation, gains, front)
    alone = [
        expected_improvement(mean[[i]], deviation[[i]], gains[[i]], front)[0] for i in range(20)
    ]
    assert together == pytest.approx(alone)
