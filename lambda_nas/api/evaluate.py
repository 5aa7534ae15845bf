"""Measures a model's accuracy (``lambda-nas eval``)."""

from pathlib import Path

from torch import nn

from lambda_nas.api.inputs.class_question import question_classes
from lambda_nas.api.inputs.named import remove_named
from lambda_nas.api.inputs.source import available_device
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.data.image_folder import load_evaluation
from lambda_nas.execution.progress import READING, in_percent
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.pretrained.from_module import from_module
from lambda_nas.pretrained.loading import load_model
from lambda_nas.training.evaluation import BATCH_SIZE, Accuracy, predict


def evaluate(
    model: str | nn.Module,
    data: str | Path,
    *,
    remove: Layers | None = None,
    class_map: str | Path | None = None,
    trust_classes: bool = False,
    pretrained: bool = True,
    img_size: int | None = None,
    progress: bool = True,
) -> Accuracy:
    """Measure a model's top-1 and top-5 accuracy on an image folder.

    Args:
        model: A network that timm built, which stays as it is; or a name: ``local-dir:DIR``,
            ``hf-hub:ID`` or timm's own.
        data: Image folder, one folder per class; with ``val/`` or the like below it, that
            is used.
        remove: Layers to remove first, ``"0,2,4"`` or ``[0, 2, 4]``, without any repair.
        class_map: A text file of class names in the order of the head.
        trust_classes: Accept the order of classes even if the model is no better than chance.
        pretrained: Load timm's weights for one of its names.
        img_size: Side of the square images that the model is used on, if it isn't the one that it
            was built for; timm resamples its positions.
        progress: Whether to show progress.

    Raises:
        InputError: If model or images can't be used, or the model is no better than chance.
        LayerIndexError: If a layer of ``remove`` can't be removed.
        NonFiniteError: If a logit is NaN or infinite.
    """
    removal = None if remove is None else RemovalSet.parse(remove)
    if isinstance(model, str):
        loaded = load_model(model, pretrained=pretrained, img_size=img_size)
    else:
        loaded = from_module(model, img_size=img_size)
    network = loaded.model
    if removal is not None:
        network = remove_named(network, removal)
    with progress_shown(visible=progress) as shown:
        with shown.stage(READING, 100) as advance:
            images, notes, class_orders = load_evaluation(
                Path(data),
                network,
                class_map=None if class_map is None else Path(class_map),
                on_image=in_percent(advance),
            )
        shown.notes((*loaded.all_notes, *notes))
        network.to(available_device())
        with shown.stage("Evaluating", -(-len(images) // BATCH_SIZE)) as advance:
            best = predict(network, images, on_batch=lambda _: advance())
        # What has lost layers without any repair may well be no better than chance.
        trusted = trust_classes or removal is not None
        asked = question_classes(best[:, 0], images.labels, class_orders, str(data), trust=trusted)
        shown.notes(asked)
        return Accuracy.of(best, images.labels)
