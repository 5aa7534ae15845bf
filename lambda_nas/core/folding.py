"""Exact removal of the factor that the paper's dilution leaves behind (design, part 2).

A diluted block ends as ``2x + mlp(norm2(2x)) = 2 * (x + mlp(norm2(2x)) / 2)``. The factor is
passed down the residual stream, dividing each later branch, until the final norm swallows it.
"""

import copy
from collections.abc import Iterator

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import check_supported
from lambda_nas.errors import UnsupportedModelError


@torch.no_grad()
def fold(model: nn.Module, doubled: RemovalSet) -> VisionTransformer:
    """Return plain blocks that compute what doubled ones would.

    Args:
        model: Its blocks in ``doubled`` have no attention, and are meant to double their input.
        doubled: Which blocks those are.

    Raises:
        UnsupportedModelError: If a branch does not end in a linear layer, or no norm follows the
            last block, so that the factor would reach the head.
    """
    folded = copy.deepcopy(check_supported(model))
    for block, scale in zip(folded.blocks, _scales(folded, doubled), strict=True):
        if scale == 1:
            continue
        for linear in _last_linears(block):
            linear.weight.div_(scale)
            if linear.bias is not None:
                linear.bias.div_(scale)
    scale_norms(folded, doubled)
    return folded


def scale_norms(model: nn.Module, doubled: RemovalSet) -> None:
    """Shrink, in place, the ``eps`` of each norm whose input folding has made smaller.

    A norm is scale invariant only up to ``eps``: over an input divided by ``c`` it must be divided
    by ``c ** 2``. It is no weight, so whoever rebuilds a folded model must do this again.

    Raises:
        UnsupportedModelError: If no norm follows the last block.
    """
    vit = check_supported(model)
    if not doubled:
        return
    scales = list(_scales(vit, doubled))
    before = 1.0
    for block, scale in zip(vit.blocks, scales, strict=True):
        if isinstance(block, Block):
            _shrink(block.norm1, before)
        _shrink(block.get_submodule("norm2"), scale)
        before = scale
    final = [norm for norm in (vit.norm, vit.fc_norm) if not isinstance(norm, nn.Identity)]
    if not final:
        raise UnsupportedModelError(
            "the model has no norm behind its last block, so the dilution's factor can't be folded"
        )
    _shrink(final[0], before)


def _scales(model: VisionTransformer, doubled: RemovalSet) -> Iterator[float]:
    """Yield, for each block, the factor accumulated up to and including it."""
    scale = 1.0
    for index in range(len(model.blocks)):
        scale *= 2.0 if index in doubled else 1.0
        yield scale


def _last_linears(block: nn.Module) -> Iterator[nn.Linear]:
    names = ("attn.proj", "mlp.fc2") if isinstance(block, Block) else ("mlp.fc2",)
    for name in names:
        try:
            linear = block.get_submodule(name)
        except AttributeError:
            linear = None
        if not isinstance(linear, nn.Linear):
            raise UnsupportedModelError(
                f"a {type(block).__name__} has no linear layer `{name}` to fold into"
            )
        yield linear


def _shrink(norm: nn.Module, scale: float) -> None:
    if isinstance(getattr(norm, "eps", None), float):
        norm.eps = norm.eps / scale**2  # type: ignore[operator, assignment]
