"""Removal of attention branches: the one place that knows how timm builds its blocks.

Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

import copy
from typing import NamedTuple

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import LayerIndexError, UnsupportedModelError

SUPPORTED = "timm VisionTransformer and DeiT models built of the pre-norm `Block`"


class AttentionFreeBlock(nn.Module):
    """A block of the removal set: ``x + mlp(norm2(x))`` and nothing else.

    The children are the original block's own, under the same names, so that a state dict of the
    pruned model is that of the unpruned one without the removed branch's entries.
    """

    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module
    drop_path2: nn.Module

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, Block | AttentionFreeBlock)
        self.norm2 = block.norm2
        self.mlp = block.mlp
        self.ls2 = block.ls2
        self.drop_path2 = block.drop_path2
        self.train(block.training)

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Map ``[batch, tokens, channels]`` to the same shape; a mask has nothing to act on."""
        del attn_mask, is_causal
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


def attend(block: nn.Module, x: Tensor) -> Tensor:
    """Return the first half of a block: its input plus its attention branch, if it has one.

    ``AttentionFreeBlock(block)`` is the second half. Both map ``[batch, tokens, channels]``.
    """
    if not isinstance(block, Block):
        return x
    return x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))


class Surgery(NamedTuple):
    """What ``remove_attention`` did."""

    model: VisionTransformer
    removed: RemovalSet
    params_removed: int


def check_supported(model: nn.Module) -> VisionTransformer:
    """Return the model itself if its blocks are of a family that surgery knows.

    Raises:
        UnsupportedModelError: Names the model or block type and the supported families.
    """
    if not isinstance(model, VisionTransformer):
        raise UnsupportedModelError(
            f"{type(model).__name__} has no removable attention layers; supported: {SUPPORTED}"
        )
    for index, block in enumerate(model.blocks):
        if not isinstance(block, Block | AttentionFreeBlock):
            raise UnsupportedModelError(
                f"block {index} is a {type(block).__name__}, whose attention can't be removed; "
                f"supported: {SUPPORTED}"
            )
    return model


def removable_layers(model: nn.Module) -> tuple[int, ...]:
    """Return the indices of the blocks that still have their attention branch.

    Raises:
        UnsupportedModelError: If the model is of no supported family or nothing is left to remove.
    """
    blocks = check_supported(model).blocks
    layers = tuple(i for i, block in enumerate(blocks) if isinstance(block, Block))
    if not layers:
        raise UnsupportedModelError(
            f"the {type(model).__name__} has no attention layer left to remove"
        )
    return layers


def check_removal(model: nn.Module, removal: RemovalSet) -> None:
    """Raise ``LayerIndexError`` unless every layer of the set can be removed from the model."""
    allowed = removable_layers(model)
    wrong = [layer for layer in removal if layer not in allowed]
    if wrong:
        raise LayerIndexError(
            f"can't remove attention of layer {', '.join(map(str, wrong))}: "
            f"removable layers are {', '.join(map(str, allowed))}"
        )


def remove_attention(model: nn.Module, removal: RemovalSet) -> Surgery:
    """Return a copy of the model without the attention branches of the set (paper, section 3.2).

    The branch is ``norm1``, ``attn``, ``ls1`` and ``drop_path1``. The input model is not changed.

    Raises:
        UnsupportedModelError: If a block's type is not known.
        LayerIndexError: If a layer does not exist or is already removed.
    """
    check_removal(model, removal)
    pruned = copy.deepcopy(check_supported(model))
    before = count_params(pruned)
    for layer in removal:
        pruned.blocks[layer] = AttentionFreeBlock(pruned.blocks[layer])
    return Surgery(pruned, removal, before - count_params(pruned))


def count_params(model: nn.Module) -> int:
    """Return the number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def stem(model: VisionTransformer) -> VisionTransformer:
    """Return a view (shared weights) whose ``forward_features`` gives the first block's input."""
    view = copy.copy(model)
    view._modules = dict(model._modules, blocks=nn.Sequential(), norm=nn.Identity())
    return view
