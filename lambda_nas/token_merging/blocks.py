"""Token merging, after "Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023), "ToMe".

Between the attention and the MLP of a block, the tokens most similar to others are merged with
them, so everything after has fewer tokens to process. Nothing is trained, and no weight changes.

This module has the blocks that merge; ``token_merging.bipartite_matching`` has the algorithm.
Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from lambda_nas.errors import InputError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock, in_parts
from lambda_nas.models.blockwise import (
    Blockwise,
    is_plain_attention,
    is_plain_block,
    is_plain_vit,
)
from lambda_nas.models.merging import Merging
from lambda_nas.token_merging.bipartite_matching import (
    Tokens,
    merge_most_similar,
    proportional_attention,
)

if TYPE_CHECKING:
    from timm.layers import Attention

# Merging runs the parts of attention and block itself, so it would skip a part it does not know.
BLOCK_PARTS = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
ATTENTION_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}


def check_mergeable(model: nn.Module) -> Blockwise:
    """Return the model itself if its tokens can be merged.

    Raises:
        UnsupportedModelError: If they can't; says why.
    """
    if not is_plain_vit(model):
        raise UnsupportedModelError(
            f"can't merge the tokens of a {type(model).__name__}; supported: timm's "
            "VisionTransformer and VisionTransformerDistilled"
        )
    vit = cast("Blockwise", model)
    if vit.global_pool != "token":
        raise UnsupportedModelError(
            f"can't merge the tokens of a model with global_pool {vit.global_pool!r}, whose head "
            "reads all tokens without their sizes; supported: a head that reads the class token"
        )
    for index, block in enumerate(vit.blocks):
        obstacle = _obstacle(block)
        if obstacle:
            raise UnsupportedModelError(f"can't merge tokens: block {index} {obstacle}")
    return vit


def _obstacle(block: nn.Module) -> str | None:
    if isinstance(block, AttentionFreeBlock):
        return None
    if isinstance(block, MergingBlock):
        return "merges tokens already; start from the model without merging"
    if not is_plain_block(block):
        return f"is a {type(block).__name__}, not timm's pre-norm Block"
    attention = block.get_submodule("attn")
    if not is_plain_attention(attention):
        return (
            f"has a {type(attention).__name__} instead of timm's Attention; "
            "call finish on a diluted model first"
        )
    unknown = {name for name, _ in block.named_children()} - BLOCK_PARTS
    unknown |= {name for name, _ in attention.named_children()} - ATTENTION_PARTS
    return (
        f"has parts that merging does not know: {', '.join(sorted(unknown))}" if unknown else None
    )


def merge_tokens(model: nn.Module, merging: Merging) -> Blockwise:
    """Return a copy of the model that merges tokens, with the same state dict.

    Blocks without attention merge nothing, as in "MLP Can Be A Good Transformer Learner". Apply
    this last: attention can't be removed from blocks that merge. The copy supports no attention
    masks, intermediate outputs or gradient checkpointing.

    Args:
        model: The model, which is not changed.
        merging: How to merge; with an ``r`` of 0 the copy merges nothing.

    Raises:
        UnsupportedModelError: See ``check_mergeable``.
        InputError: If no block from ``merging.start`` on has attention.
    """
    merged = copy.deepcopy(check_mergeable(model))
    depth = len(merged.blocks)
    if merging.start >= depth:
        raise InputError(
            f"merging can't start at block {merging.start}: the model has blocks 0 to {depth - 1}"
        )
    if not merging:
        return merged
    blocks = merging_blocks(
        merged.blocks, r=merging.r, start=merging.start, protected=merged.num_prefix_tokens
    )
    if not any(isinstance(block, MergingBlock) for block in blocks):
        raise InputError(f"nothing to merge: no block from {merging.start} on has attention")
    training = merged.blocks.training
    merged.blocks = blocks
    merged.blocks.training = training
    return merged


def merging_blocks(
    blocks: Iterable[nn.Module], *, r: int, start: int, protected: int
) -> "MergingBlocks":
    """Return blocks that merge tokens wherever they have attention, from index ``start`` on.

    Args:
        blocks: The original blocks, whose modules are shared.
        r: Pairs of tokens that each block merges.
        start: Index of the first block that merges.
        protected: Number of class and register tokens.
    """
    return MergingBlocks(
        *(
            MergingBlock(block, r=r, protected=protected)
            if index >= start and is_plain_block(block)
            else block
            for index, block in enumerate(blocks)
        )
    )


class MergingBlocks(nn.Sequential):
    """A sequence of blocks, some of which merge, that passes on the sizes of the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, tokens, channels]`` to the same shape with fewer tokens."""
        tokens = Tokens(x, None)
        for block in self:
            if isinstance(block, MergingBlock):
                tokens = block(tokens)
            else:
                tokens = Tokens(block(tokens.x), tokens.sizes)
        return tokens.x


class MergingBlock(nn.Module):
    """A pre-norm block that merges tokens between its attention and its MLP.

    It shares the children of the original block under the same names.
    """

    removal_obstacle = "its block merges tokens; merge after removing attention"
    """Read by ``models.branches``."""

    norm1: nn.Module
    attn: "Attention"
    ls1: nn.Module
    drop_path1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module
    drop_path2: nn.Module

    def __init__(self, block: nn.Module, *, r: int, protected: int) -> None:
        super().__init__()
        self.r, self.protected = r, protected
        for name, child in block.named_children():
            setattr(self, name, child)
        self.training = block.training

    def forward(self, tokens: Tokens, **_: object) -> Tokens:
        """Map tokens to fewer tokens.

        Raises:
            UnsupportedModelError: If it is not called by ``MergingBlocks``.
        """
        if not isinstance(tokens, Tokens):
            raise UnsupportedModelError(
                "a model that merges tokens supports no attention masks, intermediate outputs or "
                "gradient checkpointing"
            )
        x, sizes = self._attend_and_merge(tokens)
        return Tokens(in_parts(self._second_half, x), sizes)

    def _second_half(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend_and_merge(self, tokens: Tokens) -> Tokens:
        # In its own function, so that its tensors are freed before the MLP, the largest, runs.
        attended, keys = proportional_attention(self.attn, self.norm1(tokens.x), tokens.sizes)
        tokens = Tokens(tokens.x + self.drop_path1(self.ls1(attended)), tokens.sizes)
        return merge_most_similar(tokens, keys, r=self.r, protected=self.protected)
