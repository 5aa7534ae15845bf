"""Predictions before and after trials."""

import numpy as np
import pytest
from all_sets import every_set

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.surrogate import Surrogate, from_log_odds, log_odds

LAYERS = tuple(range(6))
HARM = (0.8, 0.3, 0.02, 0.1, 0.05, 0.2)


def score(architecture):
    """Return a score that grows faster than the sum of its layers."""
    return sum(HARM[layer] for layer in architecture.removal) ** 1.5 + 0.05 * architecture.merging.r


def accuracy(architecture):
    return 0.9 * np.exp(-0.5 * score(architecture))


def sets_of(*sizes):
    return list(map(Architecture, every_set(LAYERS, sizes)))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def surrogate(calls):
    def counted(architecture):
        calls.append(architecture)
        return score(architecture)

    return Surrogate(SearchSpace(LAYERS), counted, baseline=0.9, max_removed=5)


def test_the_architectures_along_the_greedy_path_are_scored_once_each(surrogate, calls):
    scores = surrogate.scores()
    assert len(calls) == len(set(calls)) == 6 + 5 + 4 + 3 + 2
    assert Architecture.of([2, 3, 4]) in scores
    surrogate.scores()
    surrogate.log_score(Architecture.of([2, 4]))
    assert len(calls) == 20


def test_before_any_trial_the_accuracy_falls_with_the_score_known_or_predicted(surrogate):
    candidates = surrogate.candidates(sets_of(1, 3))
    predicted = surrogate.accuracies(candidates, {})
    ranks = np.argsort(np.argsort([-score(one) for one in candidates.architectures]))
    assert np.corrcoef(ranks, np.argsort(np.argsort(predicted.mean)))[0, 1] > 0.9
    scored = np.array([surrogate.is_scored(one) for one in candidates.architectures])
    assert scored.any()
    assert not scored.all()


def test_a_predicted_score_makes_an_accuracy_less_certain(surrogate):
    surrogate.scores()
    unscored = [s for s in sets_of(3) if not surrogate.is_scored(s)]
    candidates = surrogate.candidates(unscored)

    def deviations():
        bounds = (surrogate.upper_bounds(candidates, {}, sigmas) for sigmas in (1.0, 0.0))
        return np.subtract(*map(log_odds, bounds))

    predicted = deviations()
    for one in unscored:
        surrogate.log_score(one)
    assert (predicted > deviations()).all()


def test_log_odds_and_back():
    accuracies = np.array([0.0, 0.1, 0.5, 0.99, 1.0])
    assert log_odds(accuracies)[2] == 0
    assert from_log_odds(log_odds(accuracies)) == pytest.approx(accuracies)
    assert from_log_odds(np.array([-50.0, 50.0])).tolist() == [0.0, 1.0]


def test_trials_that_contradict_each_other_make_all_less_certain(surrogate):
    sets = sets_of(1, 2)
    observed = {one: accuracy(one) for one in sets[:12]}
    others = surrogate.candidates(sets[12:])
    before = surrogate.accuracies(others, observed).deviation
    observed[sets[3]] = 0.05
    assert (surrogate.accuracies(others, observed).deviation > 2 * before).mean() > 0.8


def test_trials_correct_the_prior(surrogate):
    sets = sets_of(1, 2, 3, 4, 5)
    random = np.random.default_rng(0)
    seen = [sets[index] for index in random.choice(len(sets), 20, replace=False)]
    others = surrogate.candidates([one for one in sets if one not in seen])
    truth = np.array([accuracy(one) for one in others.architectures])
    for one in sets:
        surrogate.log_score(one)
    before = surrogate.accuracies(others, {})
    after = surrogate.accuracies(others, {one: accuracy(one) for one in seen})
    assert np.abs(before.mean - truth).mean() > 0.05
    assert np.abs(after.mean - truth).mean() < 0.02
    assert (np.abs(after.mean - truth) < 3 * after.deviation).mean() > 0.95


def test_predictions_depend_on_the_trials_and_not_on_when_they_were_told(surrogate):
    sets = sets_of(1, 2, 3)
    observed = {one: accuracy(one) for one in sets[:17]}
    candidates = surrogate.candidates(sets[17:])
    step_by_step = [
        surrogate.accuracies(candidates, dict(list(observed.items())[:count]))
        for count in range(1, 18)
    ][-1]
    at_once = Surrogate(SearchSpace(LAYERS), score, baseline=0.9, max_removed=5).accuracies(
        candidates, observed
    )
    assert np.array_equal(step_by_step.mean, at_once.mean)
    assert np.array_equal(step_by_step.deviation, at_once.deviation)


def test_each_merging_is_scored_once_alone_and_learned_apart_from_the_layers(calls):
    mergings = (Merging(1), Merging(4))

    def counted(architecture):
        calls.append(architecture)
        return score(architecture)

    surrogate = Surrogate(SearchSpace(LAYERS, mergings), counted, baseline=0.9, max_removed=2)
    surrogate.scores()
    assert [one.merging for one in calls if not one.removal] == list(mergings)
    merged = [Architecture(one.removal, mergings[1]) for one in sets_of(1, 2)]
    observed = {one: accuracy(one) - 0.2 * bool(one.merging) for one in (*sets_of(1), *merged[:8])}
    predicted = surrogate.accuracies(surrogate.candidates(merged[8:]), observed)
    truth = np.array([accuracy(one) - 0.2 for one in merged[8:]])
    assert np.abs(predicted.mean - truth).mean() < 0.06
