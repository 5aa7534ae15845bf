"""Asks whether the head's outputs are the classes that they are taken for, before they are used."""

import torch
from torch import Tensor, nn

from lambda_nas.data.classes import ClassOrder
from lambda_nas.data.files import name_some
from lambda_nas.data.selection import ImageData
from lambda_nas.errors import InputError
from lambda_nas.execution.progress import CHECKING_CLASSES, Progress
from lambda_nas.training.class_orders import OrderScore, OrdersJudged, judge_orders
from lambda_nas.training.evaluation import predict

IMAGES = 250
BATCH_SIZE = 50


def question_baseline(
    model: nn.Module, data: ImageData, name: str, progress: Progress, *, device: str, trust: bool
) -> tuple[str, ...]:
    """Classify calibration images with the unpruned model, and do as ``question_classes`` does."""
    if not data.class_orders:
        return ()
    images = data.calibration.subset(torch.arange(min(len(data.calibration), IMAGES)))
    model.to(device)
    with progress.stage(CHECKING_CLASSES, -(-len(images) // BATCH_SIZE)) as advance:
        best = predict(model, images, batch_size=BATCH_SIZE, on_batch=lambda _: advance())
    return question_classes(best[:, 0], images.labels, data.class_orders, name, trust=trust)


def question_classes(
    predicted: Tensor, labels: Tensor, orders: tuple[ClassOrder, ...], data: str, *, trust: bool
) -> tuple[str, ...]:
    """Return messages for the user, or refuse to go on if the classes seem to be others.

    Args:
        predicted: The output with the highest logit for each image, ``[images]``, int64.
        labels: The class of each image in the first order, ``[images]``, int64.
        orders: The order that is used, and others that the outputs may be in.
        data: The dataset.
        trust: Whether the order is accepted whatever comes out.

    Raises:
        InputError: If the model is not clearly better than chance, or if another order fits it
            clearly better.
    """
    judged = judge_orders(predicted, labels, orders)
    if judged.outputs == 1 or (judged.clear and not judged.better):
        return ()
    if not judged.enough:
        return (f"{judged.images} images are too few to tell whether the classes are right",)
    problem = _describe(judged)
    if trust:
        return (f"{problem}; the order is accepted",)
    advice = "check model, images and `class_map`"
    if judged.better:
        advice = (
            f"if {judged.better.order.origin} is right, list the names in a file and give it with "
            "`class_map`"
        )
    raise InputError(
        problem,
        parameter="data",
        value=data,
        advice=f"{advice}; or accept the order of classes with `trust_classes`",
    )


def _describe(judged: OrdersJudged) -> str:
    used, *others = judged.scores
    text = (
        f"going by {_show(used)}, the model classifies {used.right} of {judged.images} images "
        f"correctly ({_percent(used, judged)})"
    )
    if not judged.clear:
        text += f", which is not clearly better than chance ({100 * judged.chance:.2g}%)"
    return text + "".join(f"; by {_show(each)}, {_percent(each, judged)}" for each in others)


def _percent(score: OrderScore, judged: OrdersJudged) -> str:
    return f"{100 * score.right / judged.images:.1f}%"


def _show(score: OrderScore) -> str:
    return f"{score.order.origin} ({name_some(score.order.names)})"
