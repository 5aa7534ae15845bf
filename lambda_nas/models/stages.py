"""Groups of attention layers of equal cost: all layers in an isotropic ViT, else each stage's."""

from functools import partial

import torch
from torch import Tensor, nn

from lambda_nas.models.branches import find_branches
from lambda_nas.models.surgery import count_params, removable_layers

Stages = tuple[tuple[int, ...], ...]
"""Groups of removable layers of equal cost, each ascending."""


@torch.inference_mode()
def find_stages(model: nn.Module, image: Tensor) -> Stages:
    """Group the removable layers by the input shape and the parameter count of their attention.

    Args:
        model: The model; it is put in eval mode.
        image: ``[1, channels, height, width]``, on the model's device.

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
