"""The algorithm of token merging: which tokens are merged, and into which.

Notation used for tensor shapes: ``[batch, tokens, channels]``. A token's size is the number of
image patches merged into it; sizes are ``[batch, tokens, 1]``.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

if TYPE_CHECKING:
    from timm.layers import Attention


class Tokens(NamedTuple):
    """The tokens between two blocks; ``sizes`` is ``None`` as long as each is 1."""

    x: Tensor
    sizes: Tensor | None


class Matching(NamedTuple):
    """Which tokens of A, those at even positions, are merged into which of B, those at odd ones.

    Attributes:
        kept: Positions in A of the tokens that stay, ascending, ``[batch, |A| - r]``.
        merged: Positions in A of the tokens to merge, the most similar first, ``[batch, r]``.
        into: Positions in B of the tokens that these are merged into, ``[batch, r]``.
    """

    kept: Tensor
    merged: Tensor
    into: Tensor


def proportional_attention(
    attention: "Attention", x: Tensor, sizes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run the paper's proportional attention: a token of size ``s`` counts as ``s`` equal tokens.

    Args:
        attention: The attention of one block.
        x: ``[batch, tokens, channels]``.
        sizes: ``[batch, tokens, 1]``; ``None`` if each is 1.

    Returns:
        The attention's output ``[batch, tokens, channels]``, and the mean of the heads' keys
        ``[batch, tokens, head channels]``.
    """
    # timm's own forward does not return the keys.
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
    """Merge the most similar pairs of tokens into their means, weighted by size.

    Args:
        tokens: The tokens; the first ``protected`` are not merged.
        keys: The keys by which tokens are compared, ``[batch, tokens, head channels]``.
        r: Pairs to merge, at most half of the unprotected tokens.
        protected: Number of class and register tokens.

    Returns:
        The protected tokens, then A without its merged tokens, then B.
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
    # A product with zeros and ones, ``[batch, |B|, r]``, sums in a fixed order on each device.
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
    """Match each token at an even position to the most similar at an odd one (paper, section 3).

    Args:
        keys: ``[batch, tokens, head channels]``, compared by cosine similarity.
        r: How many of the most similar pairs to return, at most half of the tokens.
    """
    # The matching has no gradient; the merged tokens have.
    keys = F.normalize(keys.detach(), dim=-1)
    similarity, nearest = (keys[:, ::2] @ keys[:, 1::2].mT).max(-1)
    order = similarity.argsort(dim=-1, descending=True)
    merged = order[:, :r]
    return Matching(order[:, r:].sort(dim=-1).values, merged, nearest.gather(1, merged))


def _split(x: Tensor, protected: int) -> tuple[Tensor, Tensor, Tensor]:
    return x[:, :protected], x[:, protected::2], x[:, protected + 1 :: 2]


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
