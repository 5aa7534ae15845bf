"""Compares what models cost (``lambda-nas bench``)."""

from collections.abc import Sequence

import torch
from timm.models import get_model_input_config
from torch import nn

from lambda_nas.api.inputs.named import remove_named
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.cost.measurement import Price, measure_prices
from lambda_nas.execution.progress import in_percent
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.pretrained.fitting import resize
from lambda_nas.pretrained.loading import build_for_pricing
from lambda_nas.pretrained.unwrapping import copy_without_hooks, unwrap


def bench(
    models: Sequence[str | nn.Module],
    *,
    remove: Sequence[Layers] = (),
    batch_size: int = 32,
    img_size: int | None = None,
    progress: bool = True,
) -> list[Price]:
    """Measure throughput, latency, memory and size of models, timed in turn.

    It measures on the GPU if there is one. A plain name of timm's is built with random weights:
    the values of the weights don't affect these numbers.

    Args:
        models: Networks that timm built, or names as ``search`` takes them; speed-ups are over
            the first.
        remove: Layers to remove from the first model, ``["0,2,4", [1, 5]]``: each adds a model.
        batch_size: Images per forward pass.
        img_size: Side of the square images, for models that were built for others.
        progress: Whether to show progress.

    Returns:
        One price per model, in their order, then one per item of ``remove``.

    Raises:
        InputError: If a model is unknown or doesn't load.
        LayerIndexError: If a layer of ``remove`` can't be removed.
    """
    removals = [RemovalSet.named(layers) for layers in remove]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = [
        build_for_pricing(model) if isinstance(model, str) else copy_without_hooks(unwrap(model))
        for model in models
    ]
    if img_size is not None:
        networks = [resize(network, img_size) for network in networks]
    networks += [remove_named(networks[0], removal) for removal in removals]
    networks = [network.eval().to(device) for network in networks]
    samples = [
        torch.zeros(batch_size, *get_model_input_config(network)["input_size"], device=device)
        for network in networks
    ]
    with progress_shown(visible=progress) as shown, shown.stage("Measuring", 100) as advance:
        return measure_prices(networks, samples, on_step=in_percent(advance))
