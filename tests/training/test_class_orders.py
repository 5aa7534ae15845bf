import pytest
import torch

from lambda_nas.data.classes import ClassOrder
from lambda_nas.training.class_orders import judge_orders

NATURAL = ClassOrder("natural", ("1", "2", "10"))
ALPHABET = ClassOrder("alphabet", ("1", "10", "2"))


def judge(predicted, labels, *orders):
    return judge_orders(torch.tensor(predicted), torch.tensor(labels), orders)


def test_each_order_is_scored_on_the_same_predictions():
    labels = [0, 1, 2] * 10
    judged = judge([0, 2, 1] * 10, labels, NATURAL, ALPHABET)
    assert [each.right for each in judged.scores] == [10, 30]
    assert (judged.images, judged.outputs, judged.chance) == (30, 3, 1 / 3)
    assert not judged.clear
    assert judged.better.order == ALPHABET


def test_the_right_order_is_not_questioned():
    judged = judge([0, 1, 2] * 10, [0, 1, 2] * 10, NATURAL, ALPHABET)
    assert judged.clear
    assert judged.better is None


def test_an_order_that_is_right_in_part_is_clearly_worse():
    order = ClassOrder("used", tuple("abcde"))
    other = ClassOrder("other", tuple("abced"))
    judged = judge([0, 1, 2, 4, 3] * 10, [0, 1, 2, 3, 4] * 10, order, other)
    assert judged.clear
    assert judged.better.right == 50


@pytest.mark.parametrize(
    ("right", "clear"), [(0, False), (50, False), (62, False), (63, True), (100, True)]
)
def test_clearly_better_than_chance_of_two(right, clear):
    # One-sided binomial test of 100 images: P(at least 62) = 0.0105, P(at least 63) = 0.006.
    predicted = [0] * right + [1] * (100 - right)
    judged = judge(predicted, [0] * 100, ClassOrder("used", ("a", "b")))
    assert judged.clear == clear


@pytest.mark.parametrize(
    ("images", "outputs", "enough"), [(6, 2, False), (7, 2, True), (1, 9, False), (2, 11, True)]
)
def test_how_many_images_are_enough(images, outputs, enough):
    order = ClassOrder("used", tuple(map(str, range(outputs))))
    assert judge([0] * images, [0] * images, order).enough == enough


def test_an_order_that_leaves_out_classes_without_images():
    part = ClassOrder("part", ("2", "1", "x"))
    assert [each.right for each in judge([1, 0], [0, 1], NATURAL, part).scores] == [0, 2]
