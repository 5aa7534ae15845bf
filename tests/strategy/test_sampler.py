"""The sampler with plain Optuna, on a space whose accuracies are known."""

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
from lambda_nas.strategy import feasible_space
from lambda_nas.strategy import sampler as module
from lambda_nas.strategy.observations import Observations, read_observations
from lambda_nas.strategy.optuna_trials import DIRECTIONS, distributions
from lambda_nas.strategy.sampler import ExhaustedError, RemovalSampler
from lambda_nas.strategy.surrogate import log_odds

LAYERS = tuple(range(6))
HARM = np.array([0.8, 0.3, 0.02, 0.1, 0.05, 0.2])

SPACE = SearchSpace(LAYERS)


def score(architecture):
    harm = float(HARM[list(architecture.removal)].sum())
    return harm**1.5 + 0.02 * architecture.merging.r


def accuracy(architecture):
    """Return what the score says, and that layers 2 and 3 don't go together."""
    return 0.9 * np.exp(-0.5 * score(architecture)) - 0.2 * ({2, 3} <= {*architecture.removal})


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
    each = SPACE.to_architecture(trial.params)
    price = prices().of(each)
    return float(accuracy(each)), price.throughput, price.memory_bytes


def sampler(sizes=range(1, 6)):
    return RemovalSampler(SPACE, prices(sizes), score, baseline=0.9, seed=0)


def new_study(own, storage=None):
    return optuna.create_study(directions=DIRECTIONS, sampler=own, storage=storage)


def observe(study):
    return read_observations(study, SPACE)


def measured(study):
    return [SPACE.to_architecture(trial.params) for trial in study.get_trials()]


def test_optimize_evaluates_every_architecture_within_the_constraints_once_and_stops():
    study = new_study(sampler(sizes=(1, 2, 4)))
    study.optimize(objective, n_trials=100)
    assert sorted(measured(study)) == sorted(sets_of(1, 2, 4))
    with pytest.raises(ExhaustedError, match="all architectures within the constraints"):
        study.sampler.ask(study)
    assert len(study.trials) == len(sets_of(1, 2, 4))


def test_the_front_is_found_long_before_all_sets_are_measured():
    study = new_study(sampler())
    study.optimize(objective, n_trials=12)
    for size in range(1, 6):
        best = max(map(accuracy, sets_of(size)))
        found = max(accuracy(each) for each in measured(study) if len(each.removal) == size)
        assert found == pytest.approx(best, abs=0.01)


def test_another_sampler_continues_where_one_has_stopped(tmp_path):
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
    assert copied.propose(observe(study)) == study.sampler.propose(observe(study))


def test_running_architectures_are_not_proposed_again_and_other_prices_come_first():
    study = new_study(sampler())
    sets = [SPACE.to_architecture(study.ask(distributions(SPACE)).params) for _ in range(4)]
    assert len(set(sets)) == 4
    assert len({len(each.removal) for each in sets}) > 2


def test_rejected_architectures_come_up_again_only_when_nothing_else_is_left():
    study = new_study(sampler(sizes=(1,)))
    first = study.ask(distributions(SPACE))
    rejected = SPACE.to_architecture(first.params)
    study.tell(first, state=optuna.trial.TrialState.PRUNED)
    for _ in range(5):
        trial = study.ask(distributions(SPACE))
        each = SPACE.to_architecture(trial.params)
        assert each != rejected
        study.tell(trial, [accuracy(each), 100.0, 900.0])
    assert study.sampler.propose(observe(study)) == rejected


def test_an_architecture_is_rejected_when_the_front_has_more_than_it_can_credibly_reach():
    study = new_study(sampler())
    bad = Architecture.of([0, 1, 5])
    assert study.sampler.why_reject(observe(study), bad) is None
    study.optimize(objective, n_trials=12)
    # The front is all but complete: the best of each size is on it or still let through.
    best = [max(sets_of(size), key=accuracy) for size in range(1, 6)]
    left = [each for each in best if each not in measured(study)]
    rejected = [each for each in left if study.sampler.why_reject(observe(study), each)]
    assert (len(left) < len(best), rejected) == (True, [])
    [decision] = study.sampler.gate(observe(study), [bad])
    assert decision.to_beat == max(accuracy(each) for each in measured(study) if bad_to_beat(each))
    assert study.sampler.why_reject(observe(study), bad) == (
        f"rejected: expected to reach {decision.upper_bound:.1%} at most, and the front has "
        f"{decision.to_beat:.1%} at no higher price"
    )


def bad_to_beat(architecture):
    return len(architecture.removal) >= 3


def test_the_gate_is_five_standard_deviations_wide(monkeypatch):
    study = new_study(sampler())
    study.optimize(objective, n_trials=12)
    left = [each for each in sets_of(3, 4) if each not in measured(study)]
    bounds = {sigmas: [] for sigmas in (0, 1, 5)}
    for sigmas, found in bounds.items():
        if sigmas != 5:
            monkeypatch.setattr(module, "GATE_SIGMAS", float(sigmas))
        decisions = study.sampler.gate(observe(study), left)
        found += [decision.upper_bound for decision in decisions]
        monkeypatch.undo()
    mean, one, five = (log_odds(np.array(found)) for found in bounds.values())
    assert five - mean == pytest.approx(5 * (one - mean))


def test_nothing_is_rejected_at_a_price_of_which_the_front_knows_nothing():
    study = new_study(sampler())
    study.enqueue_trial(SPACE.to_params(Architecture.of([2])))
    study.optimize(objective, n_trials=1)
    assert study.sampler.why_reject(observe(study), Architecture.of([0, 1])) is None


def nothing_known(**known):
    return Observations({}, set(), set(), set(), 0)._replace(**known)


def test_a_running_architecture_counts_with_the_accuracy_expected_of_it():
    own = sampler(sizes=(1, 5))
    first = own.propose(nothing_known())
    failed = own.propose(nothing_known(taken={first}))
    beside = own.propose(nothing_known(taken={first}, running={first}))
    # Beside it little is to be gained at the same price.
    assert [len(each.removal) for each in (first, failed, beside)] == [5, 5, 1]


def test_so_many_of_the_most_promising_are_scored_at_a_time(monkeypatch):
    scored = []

    def counted(architecture):
        scored.append(architecture)
        return score(architecture)

    own = RemovalSampler(SPACE, prices(range(1, 6)), counted, baseline=0.9)
    own.propose(nothing_known())
    along_the_path = set(scored)
    monkeypatch.setattr(module, "ROUNDS", 1)
    proposed = own.propose(nothing_known(taken=along_the_path))
    shortlist = [each for each in scored if each not in along_the_path]
    assert len(shortlist) == 4
    assert proposed in shortlist


def test_where_no_volume_is_gained_the_nearest_to_the_front_comes_first():
    # No memory is saved, so the area of each price is zero, and so is each improvement.
    by_number = {n: Price(100 + 5 * n, 1 + n / 20, 1.0, 1000, 100, 100) for n in range(2)}
    own = RemovalSampler(SPACE, PriceTable.by_number(LAYERS, by_number), score, baseline=0.9)
    worst = Architecture.of([0])
    known = nothing_known(observed={worst: accuracy(worst)}, taken={worst})
    order = []
    for _ in range(5):
        order.append(own.propose(known))
        known.taken.add(order[-1])
    assert order == [Architecture.of([layer]) for layer in (2, 4, 3, 5, 1)]


def test_in_a_large_space_the_neighbors_of_the_best_are_searched(monkeypatch):
    monkeypatch.setattr(feasible_space, "WHOLE_SPACE", 10)
    study = new_study(sampler())
    study.optimize(objective, n_trials=15)
    assert len(set(measured(study))) == 15
    for size in range(1, 6):
        best = max(map(accuracy, sets_of(size)))
        found = max(accuracy(each) for each in measured(study) if len(each.removal) == size)
        assert found == pytest.approx(best, abs=0.02)


def test_a_parameter_of_the_users_own_is_sampled_too():
    study = new_study(sampler())
    trial = study.ask(distributions(SPACE))
    assert 0 <= trial.suggest_float("dropout", 0, 0.5) <= 0.5


MERGING_SPACE = SearchSpace(LAYERS, (Merging(4), Merging(4, start=1)))


def merging_prices():
    """Blocks of 15 MACs, 5 of them attention; each that merges takes 2 off all that follow."""
    work = MergingWork(
        stream=0,
        whole=BlockWork(15, 60),
        merging=tuple(BlockWork(15 - 2 * n, 50) for n in range(6)),
        bare=tuple(BlockWork(10 - n, 40) for n in range(6)),
    )
    return replace(prices(), merged=MergedPrices(1.0, 0.005, MERGING_SPACE.mergings, {4: work}))


def merging_sampler(**more):
    return RemovalSampler(MERGING_SPACE, merging_prices(), score, baseline=0.9, seed=0, **more)


def measure_next(study):
    """Ask, tell the true values, and return the architecture."""
    trial, architecture, _ = study.sampler.ask(study)
    price = merging_prices().of(architecture)
    study.tell(trial, [float(accuracy(architecture)), price.throughput, price.memory_bytes])
    return architecture


def test_architectures_with_and_without_merging_are_all_proposed_once():
    own = merging_sampler()
    study = new_study(own)
    seen = [measure_next(study) for _ in range(63 + 63 + 31)]
    with pytest.raises(ExhaustedError):
        own.ask(study)
    # All removal sets but the empty one; those that leave attention, merged from block 0; and
    # those that keep block 0 and leave attention behind it, merged from block 1.
    assert len(seen) == len(set(seen)) == 63 + 63 + 31
    # The first proposals mix both.
    assert len({each.merging for each in seen[:6]}) > 1


def test_constraints_may_exclude_all_that_does_not_merge():
    constraints = Constraints(min_speedup=1.31)
    assert all(constraints.broken(price) for price in prices().by_signature.values())
    study = new_study(merging_sampler(constraints=constraints))
    for _ in range(8):
        each = measure_next(study)
        assert each.merging
        assert not constraints.broken(merging_prices().of(each))


def test_in_a_large_space_merging_architectures_are_among_the_neighbors(monkeypatch):
    monkeypatch.setattr(feasible_space, "WHOLE_SPACE", 10)
    study = new_study(merging_sampler())
    seen = [measure_next(study) for _ in range(12)]
    assert len(set(seen)) == 12
    assert {bool(each.merging) for each in seen} == {True, False}
