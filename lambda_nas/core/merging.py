"""Token merging, after "Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023), "ToMe".

Between attention and MLP of a block, the tokens that resemble others most are merged with them, so
that all that follows has fewer tokens to work on. Nothing is trained, and no weight changes.

Notation used for tensor shapes: ``[batch, tokens, channels]``. A token's size is the number of the
image's patches that it stands for; sizes are ``[batch, tokens, 1]``.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from lambda_nas.core.replacements import AttentionFreeBlock, in_parts
from lambda_nas.errors import InputError, UnsupportedModelError

MERGEABLE = (VisionTransformer, VisionTransformerDistilled)

# Merging has to take attention and block apart: a part that it does not know would be skipped.
BLOCK_PARTS = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
ATTENTION_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}


@dataclass(frozen=True, order=True)
class Merging:
    """How many tokens are merged, and where; true if there are any.

    Examples:
        >>> str(Merging(8, start=2)), str(Merging(0))
        ('merging 8 from block 2', 'no merging')

    Attributes:
        r: Pairs of tokens that a block with attention merges; never more than half of the tokens
            that are no class or register tokens.
        start: The first block that merges.

    Raises:
        InputError: If a number is negative.
    """

    r: int
    start: int = 0

    def __post_init__(self) -> None:
        for name, value in (("r", self.r), ("start", self.start)):
            if value < 0:
                raise InputError(f"merging needs {name} to be 0 or more, not {value}")

    def __bool__(self) -> bool:
        return self.r > 0

    def __str__(self) -> str:
        return f"merging {self.r} from block {self.start}" if self else "no merging"


NO_MERGING = Merging(0)


def first_merging(attending: Iterable[int], merging: Merging) -> int | None:
    """Return the first block that merges, of those that have attention; ``None`` without any."""
    return min((index for index in attending if index >= merging.start), default=None)


class Tokens(NamedTuple):
    """What goes from block to block; the sizes are ``None`` as long as each is 1."""

    x: Tensor
    sizes: Tensor | None


class Matching(NamedTuple):
    """Which tokens to merge, of two sets A and B that alternate.

    Attributes:
        kept: Positions in A of those that stay, ascending, ``[batch, |A| - r]``.
        merged: Positions in A of those that go, the most similar first, ``[batch, r]``.
        into: Positions in B of those that they go into, ``[batch, r]``.
    """

    kept: Tensor
    merged: Tensor
    into: Tensor


def check_mergeable(model: nn.Module) -> VisionTransformer:
    """Return the model itself if its tokens can be merged.

    Raises:
        UnsupportedModelError: Names what stands in the way.
    """
    # A subclass may read or run its blocks in another way.
    if not isinstance(model, VisionTransformer) or type(model) not in MERGEABLE:
        raise UnsupportedModelError(
            f"can't merge tokens of a {type(model).__name__}: only of timm's VisionTransformer "
            "and VisionTransformerDistilled"
        )
    if model.global_pool != "token":
        raise UnsupportedModelError(
            f"can't merge tokens of a model with global_pool {model.global_pool!r}: its head reads "
            "all tokens and does not know the sizes of merged ones; it has to read the class token"
        )
    for index, block in enumerate(model.blocks):
        obstacle = _obstacle(block)
        if obstacle:
            raise UnsupportedModelError(f"can't merge tokens: block {index} {obstacle}")
    return model


def _obstacle(block: nn.Module) -> str | None:
    if isinstance(block, AttentionFreeBlock):
        return None
    if isinstance(block, MergingBlock):
        return "merges already; merge the tokens of the model that it was made from"
    if type(block) is not Block:
        return f"is a {type(block).__name__}, not timm's pre-norm Block"
    attention = block.attn
    if type(attention) is not Attention:
        return (
            f"has {type(attention).__name__} where timm's Attention is expected; "
            "a diluted model must be finished first"
        )
    unknown = {name for name, _ in block.named_children()} - BLOCK_PARTS
    unknown |= {name for name, _ in attention.named_children()} - ATTENTION_PARTS
    return (
        f"has parts that merging does not know: {', '.join(sorted(unknown))}" if unknown else None
    )


def merge_tokens(model: nn.Module, merging: Merging) -> VisionTransformer:
    """Return a copy of the model that merges tokens; its state dict is the same.

    Blocks without attention merge nothing, as in "MLP Can Be A Good Transformer Learner". Apply
    this last: attention can't be removed from blocks that merge. The copy's blocks run as a whole,
    without masks, intermediate outputs or gradient checkpoints.

    Args:
        model: It is not changed.
        merging: With an ``r`` of 0 the copy is a plain one.

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
    """Let those of a row of blocks that have attention merge, from index ``start`` on.

    Args:
        blocks: Their modules are shared.
        r: Pairs of tokens that a block merges.
        start: The first to merge.
        protected: Class and register tokens.
    """
    return MergingBlocks(
        *(
            MergingBlock(block, r=r, protected=protected)
            if index >= start and isinstance(block, Block)
            else block
            for index, block in enumerate(blocks)
        )
    )


class MergingBlocks(nn.Sequential):
    """Blocks of which some merge, and which tell each other the sizes of their tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, tokens, channels]`` to the same with fewer tokens."""
        tokens = Tokens(x, None)
        for block in self:
            if isinstance(block, MergingBlock):
                tokens = block(tokens)
            else:
                tokens = tokens._replace(x=block(tokens.x))
        return tokens.x


class MergingBlock(nn.Module):
    """A pre-norm block that merges tokens between its attention and its MLP.

    The children are the original block's own, under the same names.
    """

    norm1: nn.Module
    attn: Attention
    ls1: nn.Module
    drop_path1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module
    drop_path2: nn.Module

    def __init__(self, block: Block, *, r: int, protected: int) -> None:
        super().__init__()
        self.r, self.protected = r, protected
        for name, child in block.named_children():
            setattr(self, name, child)
        self.training = block.training

    def forward(self, tokens: Tokens, **_: object) -> Tokens:
        """Map tokens to fewer tokens.

        Raises:
            UnsupportedModelError: If whoever runs the blocks is not ``MergingBlocks``.
        """
        if not isinstance(tokens, Tokens):
            raise UnsupportedModelError(
                "blocks that merge tokens run only as a whole: without attention masks, "
                "intermediate outputs or gradient checkpoints"
            )
        x, sizes = self._attend_and_merge(tokens)
        return Tokens(in_parts(self._second_half, x), sizes)

    def _second_half(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend_and_merge(self, tokens: Tokens) -> Tokens:
        # On its own, so that nothing of it is in memory while the MLP, which takes most, runs.
        attended, keys = attend(self.attn, self.norm1(tokens.x), tokens.sizes)
        tokens = tokens._replace(x=tokens.x + self.drop_path1(self.ls1(attended)))
        return merge_most_similar(tokens, keys, r=self.r, protected=self.protected)


def attend(attention: Attention, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run attention in proportion to the sizes (the paper's proportional attention).

    A token of size ``s`` gets the attention of ``s`` equal tokens.

    Args:
        attention: Of one block.
        x: ``[batch, tokens, channels]``.
        sizes: ``[batch, tokens, 1]``; ``None`` if each is 1.

    Returns:
        The attention's output ``[batch, tokens, channels]``, and the mean of the heads' keys
        ``[batch, tokens, head channels]``.
    """
    # timm's own forward keeps the keys to itself.
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, attention.head_dim))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attention.q_norm(q), attention.k_norm(k)
    dropout = attention.attn_drop
    out = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if sizes is None else sizes.log().to(q.dtype).mT.unsqueeze(1),
        dropout_p=dropout.p if dropout.training else 0.0,
        scale=attention.scale,
    )
    out = attention.norm(out.transpose(1, 2).flatten(2))
    return attention.proj_drop(attention.proj(out)), k.mean(1)


def merge_most_similar(tokens: Tokens, keys: Tensor, *, r: int, protected: int) -> Tokens:
    """Merge pairs of tokens into means weighted by their sizes.

    Args:
        tokens: The first ``protected`` stay first, as they are.
        keys: What is compared, ``[batch, tokens, head channels]``.
        r: Pairs to merge, or as many as there are in half of the other tokens.
        protected: Class and register tokens.

    Returns:
        The protected tokens, the set A without its merged tokens, and the set B.
    """
    x, sizes = tokens
    r = min(r, (x.shape[1] - protected) // 2)
    if r == 0:
        return tokens
    if sizes is None:
        sizes = torch.ones_like(x[..., :1])
    matching = match(keys[:, protected:], r)
    prefix, a, b = _split(x, protected)
    prefix_sizes, a_sizes, b_sizes = _split(sizes, protected)
    # A product with ones and zeros, ``[batch, |B|, r]``, adds up in a fixed order on each device.
    places = torch.arange(b.shape[1], device=x.device)[:, None]
    adds = (matching.into[:, None] == places).to(x.dtype)
    gone, gone_sizes = _take(a, matching.merged), _take(a_sizes, matching.merged)
    grown = b_sizes + adds @ gone_sizes
    b = (b * b_sizes + adds @ (gone * gone_sizes)) / grown
    return Tokens(
        torch.cat([prefix, _take(a, matching.kept), b], 1),
        torch.cat([prefix_sizes, _take(a_sizes, matching.kept), grown], 1),
    )


def match(keys: Tensor, r: int) -> Matching:
    """Find, for the tokens at even places, the most similar at odd places (section 3 of the paper).

    Args:
        keys: ``[batch, tokens, head channels]``; compared by the cosine of their angle.
        r: How many of the most similar pairs to return, at most half of the tokens.
    """
    # Which tokens are merged has no gradient; the merged tokens do.
    keys = F.normalize(keys.detach(), dim=-1)
    similarity, nearest = (keys[:, ::2] @ keys[:, 1::2].mT).max(-1)
    order = similarity.argsort(dim=-1, descending=True)
    merged = order[:, :r]
    return Matching(order[:, r:].sort(dim=-1).values, merged, nearest.gather(1, merged))


def _split(x: Tensor, protected: int) -> tuple[Tensor, Tensor, Tensor]:
    return x[:, :protected], x[:, protected::2], x[:, protected + 1 :: 2]


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
