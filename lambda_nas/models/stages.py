"""Which attention layers cost the same: in an isotropic ViT all, elsewhere those of a stage."""

from functools import partial

import torch
from torch import Tensor, nn

from lambda_nas.models.branches import find_branches
from lambda_nas.models.surgery import count_params, removable_layers

Stages = tuple[tuple[int, ...], ...]
"""Removable layers, ascending, in groups of equal cost."""


@torch.inference_mode()
def find_stages(model: nn.Module, image: Tensor) -> Stages:
    """Group the removable layers by the shape of what their attention reads and by its parameters.

    Args:
        model: Put in eval mode.
        image: ``[1, channels, height, width]``, where the model is.

    Raises:
        UnsupportedModelError: If no layer can be removed.
    """
    branches = find_branches(model)
    costs: dict[int, tuple[object, ...]] = {}

    def note(layer: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        costs[layer] = (*args[0].shape, count_params(module))

    hooks = [
        model.get_submodule(
            f"{branches[layer].path}.{branches[layer].attention}"
        ).register_forward_pre_hook(partial(note, layer))
        for layer in removable_layers(model)
    ]
    try:
        model.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    stages: dict[tuple[object, ...], list[int]] = {}
    for layer in sorted(costs):
        stages.setdefault(costs[layer], []).append(layer)
    return tuple(map(tuple, stages.values()))
