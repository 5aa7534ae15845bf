"""The sampler with plain Optuna, on a space whose truth is known."""

import pickle

import numpy as np
import optuna
import pytest
from all_sets import every_set

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.search import sampler as module
from lambda_nas.search.prices import PriceList
from lambda_nas.search.sampler import ExhaustedError, RemovalSampler
from lambda_nas.search.trials import DIRECTIONS, distributions, to_params, to_removal

LAYERS = tuple(range(6))
HARM = np.array([0.8, 0.3, 0.02, 0.1, 0.05, 0.2])


def score(removal):
    return float(HARM[list(removal)].sum()) ** 1.5


def accuracy(removal):
    """Return what the score says, and that layers 2 and 3 don't go together."""
    return 0.9 * np.exp(-0.5 * score(removal)) - 0.2 * ({2, 3} <= set(removal))


def prices(sizes=range(7)):
    by_number = {
        n: Price(100 + 5 * n, 1 + n / 20, 1.0, 1000 - 20 * n, 100, 100) for n in (0, *sizes)
    }
    return PriceList.by_number(LAYERS, by_number)


def objective(trial):
    for layer in LAYERS:
        trial.suggest_categorical(f"remove layer {layer:02d}", [False, True])
    removal = to_removal(trial.params, LAYERS)
    price = prices().of(removal)
    return float(accuracy(removal)), price.throughput, price.memory_bytes


def sampler(sizes=range(1, 6), layers=LAYERS):
    return RemovalSampler(layers, prices(sizes), score, baseline=0.9, seed=0)


def new_study(own, storage=None):
    return optuna.create_study(directions=DIRECTIONS, sampler=own, storage=storage)


def measured(study):
    return [to_removal(trial.params, LAYERS) for trial in study.get_trials()]


def test_optimize_measures_every_set_within_the_limits_once_and_stops():
    study = new_study(sampler(sizes=(1, 2, 4)))
    study.optimize(objective, n_trials=100)
    assert sorted(measured(study)) == sorted(every_set(LAYERS, (1, 2, 4)))
    with pytest.raises(ExhaustedError, match="all sets within the limits are measured"):
        study.sampler.propose(study)


def test_the_front_is_found_long_before_all_sets_are_measured():
    study = new_study(sampler())
    study.optimize(objective, n_trials=12)
    for size in range(1, 6):
        best = max(map(accuracy, every_set(LAYERS, (size,))))
        found = max(accuracy(removal) for removal in measured(study) if len(removal) == size)
        assert found == pytest.approx(best, abs=0.01)


def test_another_sampler_takes_over_where_one_has_stopped(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    interrupted, alone = new_study(sampler(), storage), new_study(sampler())
    interrupted.optimize(objective, n_trials=7)
    resumed = optuna.load_study(
        study_name=interrupted.study_name, storage=storage, sampler=sampler()
    )
    resumed.optimize(objective, n_trials=5)
    alone.optimize(objective, n_trials=12)
    assert measured(resumed)[:8] == measured(alone)[:8]
    assert len(set(measured(resumed))) == 12


def test_it_can_be_pickled_at_any_time():
    study = new_study(sampler())
    study.optimize(objective, n_trials=6)
    copied = pickle.loads(pickle.dumps(study.sampler))
    assert copied.propose(study) == study.sampler.propose(study)


def test_sets_in_flight_are_not_proposed_again_and_other_prices_come_first():
    study = new_study(sampler())
    sets = [to_removal(study.ask(distributions(LAYERS)).params, LAYERS) for _ in range(4)]
    assert len(set(sets)) == 4
    assert len({len(removal) for removal in sets}) > 2


def test_refused_sets_come_up_again_only_when_nothing_else_is_left():
    study = new_study(sampler(sizes=(1,)))
    first = study.ask(distributions(LAYERS))
    refused = to_removal(first.params, LAYERS)
    study.tell(first, state=optuna.trial.TrialState.PRUNED)
    for _ in range(5):
        trial = study.ask(distributions(LAYERS))
        removal = to_removal(trial.params, LAYERS)
        assert removal != refused
        study.tell(trial, [accuracy(removal), 100.0, 900.0])
    assert study.sampler.propose(study) == refused


def test_a_set_is_hopeless_when_the_front_has_more_than_can_be_thought_of_it():
    study = new_study(sampler())
    bad, good = RemovalSet.of([0, 1, 5]), RemovalSet.of([2, 4, 5])
    assert study.sampler.hopeless(study, bad) is None
    study.optimize(objective, n_trials=12)
    reason = study.sampler.hopeless(study, bad)
    assert reason is not None
    assert "at no higher price" in reason
    for size in range(1, 6):
        best = max(every_set(LAYERS, (size,)), key=accuracy)
        if best not in measured(study):
            assert study.sampler.hopeless(study, best) is None
    assert good in every_set(LAYERS, (3,))


def test_nothing_is_hopeless_at_a_price_of_which_the_front_knows_nothing():
    study = new_study(sampler())
    study.enqueue_trial(to_params(RemovalSet.of([2]), LAYERS))
    study.optimize(objective, n_trials=1)
    assert study.sampler.hopeless(study, RemovalSet.of([0, 1])) is None


def test_in_a_large_space_the_surroundings_of_the_best_are_searched(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SPACE", 10)
    study = new_study(sampler())
    study.optimize(objective, n_trials=15)
    assert len(set(measured(study))) == 15
    for size in range(1, 6):
        best = max(map(accuracy, every_set(LAYERS, (size,))))
        found = max(accuracy(removal) for removal in measured(study) if len(removal) == size)
        assert found == pytest.approx(best, abs=0.02)


def test_a_parameter_of_the_users_own_is_sampled_too():
    study = new_study(sampler())
    trial = study.ask(distributions(LAYERS))
    assert 0 <= trial.suggest_float("dropout", 0, 0.5) <= 0.5
