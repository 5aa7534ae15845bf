import math
import random

import pytest

from lambda_nas.cost.measurement import Price
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.front import non_dominated
from lambda_nas.records.trial import ParetoTrial, RungResult, TrialRecord
from lambda_nas.strategy.early_stopping import EarlyStopping, learn_shares

RULE = EarlyStopping(rungs=3, images=10_000)


def price(size):
    return Price(100.0 + size, 1 + size / 100, 1.0, 1000 - size, 100, 10)


def record(layers, *accuracies, trial=0, stopped=None):
    rungs = tuple(RungResult(rung, value, 1.0) for rung, value in enumerate(accuracies))
    return TrialRecord(trial, Architecture.of(layers), rungs, 0.5, 1, 1.0, stopped)


def member(layers, accuracy, *, trial=3):
    return ParetoTrial(trial, Architecture.of(layers), accuracy, 2, price(len(layers)))


# After rung 0 these took away a tenth, two tenths and three tenths of the errors left.
FINISHED = [
    record([0, 1], 0.50, 0.52, 0.55),
    record([0, 2], 0.60, 0.68, 0.66),
    record([0, 3], 0.80, 0.79, 0.86),
]
FRONT = [member([1, 4], 0.779)]


def why_stop(running, *, rule=RULE, finished=FINISHED, front=FRONT):
    return rule.why_stop(running, price(len(running.removal)), finished=finished, front=front)


def test_shares_are_of_the_best_rung_so_far():
    assert learn_shares(FINISHED, 2, 0) == pytest.approx([0.1, 0.2, 0.3])
    assert learn_shares(FINISHED, 2, 1) == pytest.approx([0.03 / 0.48, 0, 0.06 / 0.2])


def test_bound_is_mean_and_two_deviations_of_the_errors_left():
    # The shares' deviation is 0.1; four tenths of the images are wrong.
    assert RULE.bound(0.6, [0.1, 0.2, 0.3]) == pytest.approx(0.6 + 0.4 * (0.2 + 2 * 0.1))


def test_bound_is_never_surer_than_the_images_allow():
    noise = math.sqrt(0.6 * 0.4 / 100)
    few = EarlyStopping(rungs=3, images=100)
    assert few.bound(0.6, [0.2, 0.2, 0.2]) == pytest.approx(0.6 + 0.4 * 0.2 + 2 * noise)


@pytest.mark.parametrize("best", [0.0, 0.97, 1.0])
def test_bound_is_an_accuracy(best):
    assert best <= EarlyStopping(rungs=3, images=4).bound(best, [0.5, 0.9, 0.1]) <= 1


def test_a_stop_says_why():
    assert why_stop(record([5, 6], 0.60)) == (
        "rung 0: with 60.0% it is expected to reach 76.0% at most, "
        "and trial 3 {1,4} has 77.9% at no higher price"
    )


def test_reaching_the_front_would_need_more_than_the_bound():
    # Equal accuracy at an equal price does not enter the front.
    bound = RULE.bound(0.6, learn_shares(FINISHED, 2, 0))
    assert why_stop(record([5, 6], 0.6), front=[member([1, 4], bound)]) is not None
    assert why_stop(record([5, 6], 0.6), front=[member([1, 4], bound - 1e-9)]) is None


def test_the_best_rung_counts():
    assert why_stop(record([5, 6], 0.60, 0.50)).startswith(
        "rung 1: with 60.0% it is expected to reach "
    )
    assert why_stop(record([5, 6], 0.75, 0.50)) is None


def test_the_last_rung_stops_nothing():
    assert why_stop(record([5, 6], 0.1, 0.1)) is not None
    assert why_stop(record([5, 6], 0.1, 0.1, 0.1)) is None
    assert why_stop(record([5, 6], 0.1), rule=EarlyStopping(rungs=1, images=100)) is None


def test_nothing_is_stopped_before_enough_went_to_the_end():
    stopped = [record([1, number], 0.1, stopped="why") for number in range(2, 9)]
    assert why_stop(record([5, 6], 0.1), finished=[*FINISHED[:2], *stopped]) is None
    assert why_stop(record([5, 6], 0.1), finished=[*FINISHED, *stopped]) is not None


def test_the_own_price_class_teaches_once_it_has_enough():
    # Three layers gain much more: 0.9 of the errors left.
    other = [record([0, 1, number], 0.5, 0.9, 0.95) for number in (2, 3)]
    assert learn_shares([*FINISHED, *other], 3, 0) == pytest.approx([0.1, 0.2, 0.3, 0.9, 0.9])
    other.append(record([0, 1, 4], 0.5, 0.9, 0.95))
    assert learn_shares([*FINISHED, *other], 3, 0) == pytest.approx([0.9, 0.9, 0.9])
    assert learn_shares([*FINISHED, *other], 2, 0) == pytest.approx([0.1, 0.2, 0.3])


def test_a_trial_without_errors_left_teaches_nothing():
    perfect = record([0, 1], 1.0, 1.0, 1.0)
    assert learn_shares([perfect] * 5, 2, 0) is None
    assert len(learn_shares([perfect, *FINISHED], 2, 0)) == 3


def test_only_members_that_are_at_least_as_cheap_are_rivals():
    running = record([5, 6], 0.1)
    assert why_stop(running, front=[member([1], 0.99)]) is None
    assert "trial 3 {1,2,3} has 77.9%" in why_stop(running, front=[member([1, 2, 3], 0.779)])
    assert why_stop(running, front=[]) is None


def test_faster_with_more_memory_is_no_rival():
    faster = Price(1000.0, 10.0, 1.0, 2000, 100, 10)
    point = ParetoTrial(3, Architecture.of([1, 4]), 0.99, 2, faster)
    assert why_stop(record([5, 6], 0.1), front=[point]) is None


def test_no_rung_yet_or_no_number_stops_nothing():
    assert why_stop(record([5, 6])) is None
    assert why_stop(record([5, 6], math.nan)) is None


def simulate(seed):
    """Run 300 trials of 2 to 4 layers through the rule, a trial after the other.

    Trials gain as the digits' do: a tenth to four tenths of the errors left, more where the
    transplant left more, half of it in each rung. Accuracy is of 1000 images, the same ones in
    each rung: an image is right once the trial is as good as the image is hard.
    """
    generator = random.Random(seed)
    rule, finished, points, all_points, undone = EarlyStopping(3, 1000), [], [], [], 0
    for trial in range(300):
        size = 2 + trial % 3
        start = generator.uniform(0.5, 0.95) - 0.02 * size
        gain = (1 - start) * min(0.4, max(0.0, 0.6 * (1 - start) + generator.gauss(0.05, 0.05)))
        hardness = [generator.random() for _ in range(1000)]
        values = [
            sum(image < start + gain * rung / 2 for image in hardness) / 1000 for rung in range(3)
        ]
        layers = [10 * trial + index for index in range(size)]
        done = next(
            (
                rung
                for rung in range(3)
                if rule.why_stop(
                    record(layers, *values[: rung + 1]),
                    price(size),
                    finished=finished,
                    front=non_dominated(points),
                )
            ),
            None,
        )
        point = member(layers, max(values), trial=trial)
        all_points.append(point)
        if done is None:
            points.append(point)
            finished.append(record(layers, *values, trial=trial))
        else:
            undone += 2 - done
            finished.append(record(layers, *values[: done + 1], trial=trial, stopped="why"))
    return non_dominated(points), non_dominated(all_points), undone / 600, finished


@pytest.mark.parametrize("seed", range(5))
def test_simulated_front_is_kept_and_the_hopeless_are_stopped(seed):
    front, full, saved, finished = simulate(seed)
    assert front == full
    # Of the training rungs, which are what a trial costs.
    assert saved > 0.5
    assert not any(trial.stopped for trial in finished[:3])
    hopeless = [trial for trial in finished[30:] if trial.rungs[0].accuracy < 0.6]
    assert len(hopeless) > 20
    assert all(trial.stopped and len(trial.rungs) == 1 for trial in hopeless)
