"""Rebuilds a pruned network from its configuration and weights."""

from dataclasses import astuple, replace
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from torch import Tensor, nn

from lambda_nas.errors import InputError
from lambda_nas.models.branches import find_branches
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import NOTHING, RemovalSet
from lambda_nas.pretrained.entry_points import (
    DIGITS_ARCHITECTURE,
    DIGITS_ARGS,
    PRUNED_ARCHITECTURE,
)
from lambda_nas.pretrained.loading import ModelConfig

PLAIN_VIT = "vit_tiny_patch16_224"


def build(
    config: ModelConfig,
    *,
    removal: RemovalSet,
    state: dict[str, Tensor],
    doubled: RemovalSet = NOTHING,
    merging: Merging | None = None,
    plain: bool = False,
) -> nn.Module:
    """Build the pruned network through timm and load its weights strictly.

    Args:
        config: How the network was built before the search.
        removal: Layers removed from it since.
        state: The pruned network's state dict.
        doubled: Layers of ``removal`` whose doubled residual was folded.
        merging: How the network merges tokens; by default as in ``config``.
        plain: Keep the removed branches and set them to zero.

    Returns:
        The network in eval mode on the CPU.

    Raises:
        InputError: If a plain network is requested, and timm alone can't build it.
        UnsupportedModelError: If the network is to merge tokens and can't.
    """
    config = with_merging(config, merging)
    if plain:
        config = _in_plain_timm(config)
    removed = RemovalSet.of([*config.removed, *removal])
    args: dict[str, Any] = dict(config.model_args)
    name = config.architecture
    if not plain:
        name = PRUNED_ARCHITECTURE
        args["base"] = config.architecture
        args["removed"] = list(removed)
        args["doubled"] = list(RemovalSet.of([*config.doubled, *doubled]))
        if config.merging:
            args["merging"] = list(astuple(config.merging))
    model = timm.create_model(name, pretrained_cfg=dict(config.pretrained_cfg), **args)
    if plain:
        state = {**_zeros(model, removed), **state}
    model.load_state_dict(state)
    return model.eval()


def with_merging(config: ModelConfig, merging: Merging | None) -> ModelConfig:
    """Return the config with another token merging, if one is given."""
    return config if merging is None else replace(config, merging=merging)


def _in_plain_timm(config: ModelConfig) -> ModelConfig:
    """Return a config of the same network that timm builds without this package."""
    if config.merging:
        raise InputError(
            "this network merges tokens, which timm alone can't",
            parameter="plain",
            advice="leave it out, or the merging",
        )
    if config.architecture == DIGITS_ARCHITECTURE:
        # Any entry point of the same class would do: the arguments replace all that is its own.
        args = {**DIGITS_ARGS, **config.model_args}
        return replace(config, architecture=PLAIN_VIT, model_args=args)
    if not model_entrypoint(config.architecture).__module__.startswith("timm."):
        raise InputError(
            f"{config.architecture} is not an architecture of timm's own",
            parameter="plain",
            advice="leave it out, and import the package that registers it before you load",
        )
    return config


def _zeros(model: nn.Module, removed: RemovalSet) -> dict[str, Tensor]:
    # The zeroed projection alone removes the branch (x + 0); the block's other tensors are
    # overwritten by the pruned network's.
    branches = find_branches(model)
    prefixes = tuple(f"{branches[layer].path}." for layer in removed)
    return {
        # Integers are indices, for example of relative positions.
        key: torch.zeros_like(value) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
        if key.startswith(prefixes)
    }
