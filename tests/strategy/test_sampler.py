"""The sampler with plain Optuna, on a space whose truth is known."""

import pickle
from dataclasses import replace

import numpy as np
import optuna
import pytest
from all_sets import every_set

from lambda_nas.cost.constraints import Constraints
from lambda_nas.cost.measurement import Price
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.merging_work import BlockWork, MergingWork
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy import sampler as module
from lambda_nas.strategy.optuna_trials import DIRECTIONS, distributions
from lambda_nas.strategy.sampler import ExhaustedError, RemovalSampler

LAYERS = tuple(range(6))
HARM = np.array([0.8, 0.3, 0.02, 0.1, 0.05, 0.2])


CHOICES = SearchSpace(LAYERS)


def score(one):
    return float(HARM[list(one.removal)].sum()) ** 1.5 + 0.02 * one.merging.r


def accuracy(one):
    """Return what the score says, and that layers 2 and 3 don't go together."""
    return 0.9 * np.exp(-0.5 * score(one)) - 0.2 * ({2, 3} <= set(one.removal))


def sets_of(*sizes):
    return list(map(Architecture, every_set(LAYERS, sizes)))


def prices(sizes=range(7)):
    by_number = {
        n: Price(100 + 5 * n, 1 + n / 20, 1.0, 1000 - 20 * n, 100, 100) for n in (0, *sizes)
    }
    return PriceTable.by_number(LAYERS, by_number)


def objective(trial):
    for layer in LAYERS:
        trial.suggest_categorical(f"remove layer {layer:02d}", [False, True])
    one = CHOICES.to_architecture(trial.params)
    price = prices().of(one)
    return float(accuracy(one)), price.throughput, price.memory_bytes


def sampler(sizes=range(1, 6)):
    return RemovalSampler(CHOICES, prices(sizes), score, baseline=0.9, seed=0)


def new_study(own, storage=None):
    return optuna.create_study(directions=DIRECTIONS, sampler=own, storage=storage)


def measured(study):
    return [CHOICES.to_architecture(trial.params) for trial in study.get_trials()]


def test_optimize_measures_every_set_within_the_limits_once_and_stops():
    study = new_study(sampler(sizes=(1, 2, 4)))
    study.optimize(objective, n_trials=100)
    assert sorted(measured(study)) == sorted(sets_of(1, 2, 4))
    with pytest.raises(ExhaustedError, match="all sets within the limits are measured"):
        study.sampler.propose(study)


def test_the_front_is_found_long_before_all_sets_are_measured():
    study = new_study(sampler())
    study.optimize(objective, n_trials=12)
    for size in range(1, 6):
        best = max(map(accuracy, sets_of(size)))
        found = max(accuracy(one) for one in measured(study) if len(one.removal) == size)
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
    sets = [CHOICES.to_architecture(study.ask(distributions(CHOICES)).params) for _ in range(4)]
    assert len(set(sets)) == 4
    assert len({len(one.removal) for one in sets}) > 2


def test_refused_sets_come_up_again_only_when_nothing_else_is_left():
    study = new_study(sampler(sizes=(1,)))
    first = study.ask(distributions(CHOICES))
    refused = CHOICES.to_architecture(first.params)
    study.tell(first, state=optuna.trial.TrialState.PRUNED)
    for _ in range(5):
        trial = study.ask(distributions(CHOICES))
        one = CHOICES.to_architecture(trial.params)
        assert one != refused
        study.tell(trial, [accuracy(one), 100.0, 900.0])
    assert study.sampler.propose(study) == refused


def test_a_set_is_hopeless_when_the_front_has_more_than_can_be_thought_of_it():
    study = new_study(sampler())
    bad, good = Architecture.of([0, 1, 5]), Architecture.of([2, 4, 5])
    assert study.sampler.hopeless(study, bad) is None
    study.optimize(objective, n_trials=12)
    reason = study.sampler.hopeless(study, bad)
    assert reason is not None
    assert "at no higher price" in reason
    for size in range(1, 6):
        best = max(sets_of(size), key=accuracy)
        if best not in measured(study):
            assert study.sampler.hopeless(study, best) is None
    assert good in sets_of(3)


def test_nothing_is_hopeless_at_a_price_of_which_the_front_knows_nothing():
    study = new_study(sampler())
    study.enqueue_trial(CHOICES.to_params(Architecture.of([2])))
    study.optimize(objective, n_trials=1)
    assert study.sampler.hopeless(study, Architecture.of([0, 1])) is None


def test_in_a_large_space_the_surroundings_of_the_best_are_searched(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SPACE", 10)
    study = new_study(sampler())
    study.optimize(objective, n_trials=15)
    assert len(set(measured(study))) == 15
    for size in range(1, 6):
        best = max(map(accuracy, sets_of(size)))
        found = max(accuracy(one) for one in measured(study) if len(one.removal) == size)
        assert found == pytest.approx(best, abs=0.02)


def test_a_parameter_of_the_users_own_is_sampled_too():
    study = new_study(sampler())
    trial = study.ask(distributions(CHOICES))
    assert 0 <= trial.suggest_float("dropout", 0, 0.5) <= 0.5


MERGING = SearchSpace(LAYERS, (Merging(4), Merging(4, start=1)))


def merging_prices():
    """Blocks of 15 MACs, 5 of them attention; each that merges takes 2 off all that follow."""
    work = MergingWork(
        stream=0,
        whole=BlockWork(15, 60),
        merging=tuple(BlockWork(15 - 2 * n, 50) for n in range(6)),
        bare=tuple(BlockWork(10 - n, 40) for n in range(6)),
    )
    return replace(prices(), merged=MergedPrices(1.0, 0.005, MERGING.mergings, {4: work}))


def merging_sampler(**more):
    return RemovalSampler(MERGING, merging_prices(), score, baseline=0.9, seed=0, **more)


def measure_next(study):
    """Ask, tell what is true, and return the set."""
    trial = study.ask(distributions(MERGING))
    one = MERGING.to_architecture(trial.params)
    price = merging_prices().of(one)
    study.tell(trial, [float(accuracy(one)), price.throughput, price.memory_bytes])
    return one


def test_sets_with_and_without_merging_are_all_proposed_once():
    own = merging_sampler()
    study, seen = new_study(own), []
    while not own.is_exhausted(study):
        seen.append(measure_next(study))
    # All sets but the empty one; those that leave attention, merged from block 0; and from block 1
    # those that keep block 0 and leave attention behind it.
    assert len(seen) == len(set(seen)) == 63 + 63 + 31
    # The first proposals mix both.
    assert len({one.merging for one in seen[:6]}) > 1


def test_limits_shut_out_what_does_not_merge():
    constraints = Constraints(min_speedup=1.31)
    assert all(constraints.broken(price) for price in prices().by_signature.values())
    study = new_study(merging_sampler(constraints=constraints))
    for _ in range(8):
        one = measure_next(study)
        assert one.merging
        assert not constraints.broken(merging_prices().of(one))


def test_in_a_large_space_merged_sets_are_in_the_surroundings(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SPACE", 10)
    study = new_study(merging_sampler())
    seen = [measure_next(study) for _ in range(12)]
    assert len(set(seen)) == 12
    assert {bool(one.merging) for one in seen} == {True, False}
