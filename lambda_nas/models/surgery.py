"""Removes attention branches.

Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

import copy
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from torch import nn

from lambda_nas.errors import LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import (
    AttentionFreeBlock,
    NoAttention,
    NoBranch,
    NoSizedAttention,
)
from lambda_nas.models.branches import WRAPPED, Branch, find_branches, is_pre_norm_block
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.timm_names import timm_classes

ATTENTION_WITH_SIZE = (
    ("models.mvitv2", "MultiScaleAttention"),
    ("models.mvitv2", "MultiScaleAttentionPoolFirst"),
)

ModelT = TypeVar("ModelT", bound=nn.Module)


class Surgery(NamedTuple, Generic[ModelT]):
    """The result of ``remove_attention``."""

    model: ModelT
    removed: RemovalSet
    params_removed: int


def removable_layers(model: nn.Module) -> tuple[int, ...]:
    """Return the indices of the attention layers that can be removed.

    Raises:
        UnsupportedModelError: If there is none; says why.
    """
    branches = find_branches(model)
    layers = tuple(
        index
        for index, branch in enumerate(branches)
        if not branch.removed and branch.obstacle is None
    )
    if not layers:
        raise UnsupportedModelError(f"{type(model).__name__} has {_why_none(branches)}")
    return layers


def _why_none(branches: Sequence[Branch]) -> str:
    if not branches:
        return "no residual self-attention layer to remove"
    obstacles = dict.fromkeys(branch.obstacle for branch in branches if branch.obstacle)
    if not obstacles:
        return "no attention layer left to remove"
    return f"no attention layer that can be removed: {'; '.join(obstacles)}"


def check_removal(model: nn.Module, removal: RemovalSet, *, parameter: str = "layers") -> None:
    """Raise ``LayerIndexError`` unless the model's layers in ``removal`` can all be removed.

    Args:
        model: The model.
        removal: The layers.
        parameter: What they were given for.
    """
    allowed = removable_layers(model)
    wrong = [layer for layer in removal if layer not in allowed]
    if wrong:
        raise LayerIndexError(
            "this attention can't be removed",
            parameter=parameter,
            value=", ".join(map(str, wrong)),
            allowed=f"layers among {', '.join(map(str, allowed))}",
        )


def remove_attention(model: ModelT, removal: RemovalSet) -> Surgery[ModelT]:
    """Return a copy of the model without these attention branches (paper, section 3.2).

    The norm, layer scale and drop path of a branch are removed with it. The input model is not
    changed. If a block's MLP half works alone, only that half is left; otherwise timm's block
    stays, with an attention that returns zeros.

    Raises:
        UnsupportedModelError: If the model has no attention layer that can be removed.
        LayerIndexError: If a layer does not exist, can't be removed, or is removed already.
    """
    check_removal(model, removal)
    pruned = copy.deepcopy(model)
    before = count_params(pruned)
    branches = find_branches(pruned)
    for layer in removal:
        _remove(pruned, branches[layer])
    return Surgery(pruned, removal, before - count_params(pruned))


def _remove(model: nn.Module, branch: Branch) -> None:
    parent, _, name = branch.path.rpartition(".")
    holder, block = model.get_submodule(parent), model.get_submodule(branch.path)
    if is_pre_norm_block(block):
        setattr(holder, name, AttentionFreeBlock(block))
    elif branch.attention in WRAPPED:
        setattr(holder, name, NoBranch())
    else:
        # Dilution wraps the attention.
        inside = block.get_submodule(branch.attention).modules()
        gives_size = any(gives_its_size(module) for module in inside)
        setattr(block, branch.attention, NoSizedAttention() if gives_size else NoAttention())
        for part in branch.parts[1:]:
            bypass(block, part)


def gives_its_size(attention: nn.Module) -> bool:
    """Say whether an attention returns the size of its feature map besides the features."""
    return isinstance(attention, timm_classes(*ATTENTION_WITH_SIZE))


def bypass(block: nn.Module, name: str) -> None:
    """Replace a part of a branch by the identity, so that zeros stay zeros."""
    if isinstance(getattr(block, name), nn.Parameter):
        delattr(block, name)
        setattr(block, name, 1.0)
    else:
        setattr(block, name, nn.Identity())


def count_params(model: nn.Module) -> int:
    """Return the number of parameters, counting shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
