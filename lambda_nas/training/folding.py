"""Folding: the exact removal of the factor 2 that the paper's dilution leaves behind.

A diluted block ends as ``2x + mlp(norm2(2x)) = 2 * (x + mlp(norm2(2x)) / 2)``. The factor passes
down the residual stream, dividing each later branch, until a norm absorbs it: the final norm, or
the norm of the downsampling before the next stage. The factors are powers of two, so folding
rounds nothing.
"""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from lambda_nas.errors import LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import (
    Blockwise,
    blocks,
    check_blockwise,
    entries,
    is_cait,
    is_distilled,
    is_scale_invariant,
)
from lambda_nas.models.removal import RemovalSet


class _Reader(NamedTuple):
    """A norm that reads the scaled stream, the last layer of its branch (if any), the scale."""

    norm: nn.Module
    last: nn.Linear | None
    scale: float


@torch.no_grad()
def fold(model: nn.Module, doubled: RemovalSet) -> Blockwise:
    """Return a copy with plain blocks that computes what the model would with doubled ones.

    The outputs are equal from the final norm on; the residual stream before it is smaller.

    Args:
        model: A model whose blocks in ``doubled`` have no attention.
        doubled: The blocks that would double their input.

    Raises:
        LayerIndexError: If a doubled block does not exist or still has attention.
        UnsupportedModelError: If the factor can't be passed on: see ``check_foldable``.
    """
    check_foldable(model, doubled)
    folded = copy.deepcopy(check_blockwise(model))
    row = blocks(folded)
    for index in doubled:
        if not isinstance(row[index], AttentionFreeBlock):
            raise LayerIndexError(f"block {index} still has attention, so it can't be folded")
    for reader in _readers(folded, doubled):
        if reader.last is not None:
            for parameter in reader.last.parameters():
                parameter.div_(reader.scale)
    scale_norms(folded, doubled)
    return folded


def scale_norms(model: nn.Module, doubled: RemovalSet) -> None:
    """Reduce, in place, the ``eps`` of each norm whose input folding has divided.

    A norm is scale invariant only up to ``eps``: where the input is divided by ``c``, ``eps`` must
    be divided by ``c ** 2``. State dicts don't hold ``eps``, so rebuilding a folded model must
    repeat this.

    Raises:
        LayerIndexError, UnsupportedModelError: As ``check_foldable``.
    """
    for norm, _, scale in list(_readers(check_blockwise(model), doubled)):
        norm.eps = norm.eps / scale**2  # type: ignore[operator, assignment]


def check_foldable(model: nn.Module, doubled: RemovalSet) -> None:
    """Check before training that folding will work once ``doubled`` has no attention.

    Raises:
        LayerIndexError: If a doubled block does not exist.
        UnsupportedModelError: If a branch does not end in a linear layer, if a norm is not scale
            invariant, or if none follows the last block, so that the factor would reach the head.
    """
    list(_readers(check_blockwise(model), doubled))


def _readers(model: Blockwise, doubled: RemovalSet) -> Iterator[_Reader]:
    """Yield every norm that reads the stream after the first doubled block, in order."""
    row = blocks(model)
    if any(index not in range(len(row)) for index in doubled):
        raise LayerIndexError(f"can't fold {doubled}: the model has {len(row)} blocks")
    scale = 1.0
    for index, (block, entry) in enumerate(zip(row, entries(model), strict=True)):
        if entry is not None and scale != 1:
            yield _Reader(_invariant(entry, "norm"), None, scale)
            scale = 1.0
        if index in doubled:
            scale *= 2.0
        if scale == 1:
            continue
        if not isinstance(block, AttentionFreeBlock) and index not in doubled:
            yield _Reader(_invariant(block, "norm1"), _linear(block, "attn.proj"), scale)
        yield _Reader(_invariant(block, "norm2"), _linear(block, "mlp.fc2"), scale)
    # CaiT's class token, which is not scaled, passes the last norm too, so its eps stays.
    if scale != 1 and not is_cait(model):
        yield _Reader(_final_norm(model), None, scale)


def _linear(block: nn.Module, name: str) -> nn.Linear:
    branch, _, last = name.partition(".")
    linear = getattr(block.get_submodule(branch), last, None)
    if not isinstance(linear, nn.Linear):
        raise UnsupportedModelError(
            f"a {type(block).__name__} has no linear layer {name} to fold into; "
            "train with `compensation=none`"
        )
    return linear


def _invariant(parent: nn.Module, name: str) -> nn.Module:
    norm = parent.get_submodule(name)
    if not is_scale_invariant(norm) or not isinstance(norm.eps, float):
        raise UnsupportedModelError(
            f"{name} of a {type(parent).__name__} is a {type(norm).__name__}, which is not scale "
            "invariant; train with `compensation=none`"
        )
    return norm


def _final_norm(model: Blockwise) -> nn.Module:
    """Return the norm that absorbs the factor; only plain pooling may come before it."""
    if not isinstance(model.norm, nn.Identity):
        return _invariant(model, "norm")
    other_head = getattr(model, "attn_pool", None) or is_distilled(model)
    if other_head or isinstance(model.fc_norm, nn.Identity):
        raise UnsupportedModelError(
            "no norm follows the model's last block, so the factor of the dilution would "
            "reach the head; train with `compensation=none`"
        )
    return _invariant(model, "fc_norm")
