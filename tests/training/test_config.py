"""Schedules and their bounds."""

import math

import pytest

from lambda_nas.errors import InputError
from lambda_nas.training.config import Augmentation, LambdaSchedule, Losses, TrainConfig


@pytest.mark.parametrize(
    ("share", "start", "expected"),
    [
        (0.5, 1.0, [1.0, 0.75, 0.5, 0.25, 0, 0, 0, 0]),
        (0.5, 0.4, [0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0]),
        (1.0, 0.7, [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]),
        (0.0, 1.0, [0] * 8),
        (0.5, 0.0, [0] * 8),
    ],
)
def test_lambda_falls_linearly_to_zero(share, start, expected):
    schedule = LambdaSchedule(start=start, share=share)
    assert [schedule.at(step, 8) for step in range(8)] == pytest.approx(expected)


def test_lambda_falls_along_a_cosine():
    schedule = LambdaSchedule(start=0.8, share=0.5, shape="cosine")
    expected = [0.4 * (1 + math.cos(math.pi * step / 4)) for step in range(4)] + [0] * 4
    assert [schedule.at(step, 8) for step in range(8)] == pytest.approx(expected)


def test_the_only_step_is_at_zero():
    assert LambdaSchedule().at(0, 1) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("checks", [1, 3, 50])
def test_the_model_is_rated_at_lambda_zero_only_and_at_the_end(share, checks):
    config = TrainConfig(
        steps=20, batch_size=1, lr=1, lambda_schedule=LambdaSchedule(share=share), checks=checks
    )
    steps = sorted(config.checked_steps())
    zeros = [step for step in range(20) if config.lambda_schedule.at(step, 20) == 0]
    assert set(steps) <= set(zeros)
    assert steps[-1] == 19
    assert len(steps) == min(checks, len(zeros))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(0, 1, 1), "steps 0: must be at least 1"),
        (lambda: TrainConfig(1, 0, 1), "batch_size 0: must be at least 1"),
        (lambda: TrainConfig(1, 1, 1, checks=0), "checks 0: must be at least 1"),
        (lambda: TrainConfig(1, 1, 1, ema_decay=2), "ema_decay 2: must be within 0 and 1"),
        (
            lambda: TrainConfig(1, 5, 1, augmentation=Augmentation(mixup=0.2)),
            "batch_size 5: must be even for mixup",
        ),
        (lambda: LambdaSchedule(share=1.2), "share 1.2: must be within 0 and 1"),
        (lambda: LambdaSchedule(start=-1), "start -1: must be within 0 and 1"),
        (lambda: Augmentation(crop=math.nan), "crop nan: must be within 0 and 1"),
        (lambda: Losses(labels=0), "one must be positive"),
        (lambda: Losses(logits=-1), "may be negative"),
    ],
)
def test_configs_that_make_no_sense(make, message):
    with pytest.raises(InputError, match=message):
        make()
