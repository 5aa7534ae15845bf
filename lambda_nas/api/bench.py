"""Compares what models cost (``lambda-nas bench``)."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from timm.models import get_model_input_config
from torch import nn

from lambda_nas.api.inputs.named import remove_named
from lambda_nas.api.inputs.source import available_device
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.cost.measurement import Price, measure_prices
from lambda_nas.data.files import name_some
from lambda_nas.errors import InputError
from lambda_nas.execution.progress import in_percent
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.pretrained.fitting import resize
from lambda_nas.pretrained.loading import build_for_pricing
from lambda_nas.pretrained.unwrapping import copy_without_hooks, lost_in_copy, unwrap


def bench(
    models: str | nn.Module | Sequence[str | nn.Module],
    *,
    remove: Layers | Sequence[Layers] = (),
    batch_size: int = 32,
    img_size: int | None = None,
    progress: bool = True,
) -> list[Price]:
    """Measure throughput, latency, memory and size of models, timed in turn.

    It measures in single precision and in PyTorch's eager mode, on the GPU if there is one. A plain
    name of timm's is built with random weights: their values don't affect these numbers.

    Args:
        models: Networks that timm built, or names as ``search`` takes them; speed-ups are over
            the first. Of networks in half precision or compiled ones, copies are measured.
        remove: Layers to remove from the first model, ``"0,2,4"`` or ``[0, 2, 4]``, or several of
            these, ``["0,2,4", [1, 5]]``: each adds a model.
        batch_size: Images per forward pass.
        img_size: Side of the square images, for models that were built for others.
        progress: Whether to show progress.

    Returns:
        One price per model, in their order, then one per item of ``remove``.

    Raises:
        InputError: If a model is unknown or doesn't load.
        LayerIndexError: If a layer of ``remove`` can't be removed.
    """
    removals = _removals(remove)
    given = [models] if isinstance(models, str | nn.Module) else models
    if not given:
        raise InputError("give at least one", parameter="models")
    notes = [
        f"model {number} ({type(model).__name__}) is measured in single precision and eager mode, "
        f"not as it was given: {name_some(lost)}"
        for number, model in enumerate(given, 1)
        if isinstance(model, nn.Module) and (lost := lost_in_copy(model))
    ]
    device = available_device()
    networks = [
        build_for_pricing(model) if isinstance(model, str) else copy_without_hooks(unwrap(model))
        for model in given
    ]
    if img_size is not None:
        networks = [resize(network, img_size) for network in networks]
    networks += [remove_named(networks[0], removal) for removal in removals]
    networks = [network.eval().to(device) for network in networks]
    samples = [
        torch.zeros(batch_size, *get_model_input_config(network)["input_size"], device=device)
        for network in networks
    ]
    with progress_shown(visible=progress) as shown:
        shown.notes(notes)
        with shown.stage("Measuring", 100) as advance:
            return measure_prices(networks, samples, on_step=in_percent(advance))


def _removals(remove: Layers | Sequence[Layers]) -> list[RemovalSet]:
    """Read the layers of one network, named as everywhere else, or those of several."""
    items = [remove] if isinstance(remove, str) or not isinstance(remove, Iterable) else [*remove]
    if any(isinstance(item, int) for item in items):
        return [RemovalSet.parse(cast(Layers, items))]
    return [RemovalSet.parse(cast(Layers, layers)) for layers in items]
