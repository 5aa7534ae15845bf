"""The MACs and memory that token merging saves, computed without building each network.

In an isotropic ViT the work of a block depends only on its kind and on the number of its tokens,
that is, on how many blocks before it have merged. So each kind is measured once for each number;
the MACs of any network are the sum over its blocks, its peak memory is their maximum.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lambda_nas.cost.measurement import count_macs, peak_memory, storage_bytes
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import stem
from lambda_nas.models.surgery import removable_layers
from lambda_nas.token_merging.bipartite_matching import Tokens
from lambda_nas.token_merging.blocks import check_mergeable, merging_blocks


class BlockWork(NamedTuple):
    """Multiply-accumulates per image, and peak bytes of a batch's activations."""

    macs: int
    bytes: int


@dataclass(frozen=True)
class MergingWork:
    """The work of each kind of block, for one number of merged pairs.

    Attributes:
        stream: Bytes of the first block's input, which stays in memory while the others run.
        whole: A block with attention that does not merge.
        merging: A block that merges, by the number of blocks before it that merge.
        bare: A block without attention, by the number of blocks before it that merge.
    """

    stream: int
    whole: BlockWork
    merging: tuple[BlockWork, ...]
    bare: tuple[BlockWork, ...]

    def macs_saved(self, attending: Container[int], start: int) -> int:
        """Return the MACs per image that merging saves in a network.

        ``attending`` are the blocks with attention, ``start`` is the first that may merge.
        """
        unmerged = sum(
            (self.whole if block in attending else self.bare[0]).macs
            for block in range(len(self.merging))
        )
        return unmerged - sum(block.macs for block in self._blocks(attending, start))

    def bytes_saved(self, attending: Container[int], start: int) -> int:
        """Return the peak bytes of a batch's activations that merging saves; may be negative.

        The comparison holds if some block other than the first has attention.
        """
        # The first block reads the stream itself.
        peak = max(
            block.bytes + (self.stream if index > 0 else 0)
            for index, block in enumerate(self._blocks(attending, start))
        )
        return self.whole.bytes + self.stream - peak

    def _blocks(self, attending: Container[int], start: int) -> Iterator[BlockWork]:
        merged = 0
        for block in range(len(self.merging)):
            if block not in attending:
                yield self.bare[merged]
            elif block < start:
                yield self.whole
            else:
                yield self.merging[merged]
                merged += 1


class _Sized(nn.Module):
    """Runs a block that merges as if tokens had been merged before it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tokens:
        return self.block(Tokens(x, torch.ones_like(x[..., :1])))


def measure_merging_work(model: nn.Module, r: int, images: Tensor) -> MergingWork:
    """Measure the MACs and memory of each kind of block, without timing anything.

    Args:
        model: The unpruned model.
        r: Pairs of tokens that each block merges.
        images: A batch ``[images, channels, height, width]`` on the model's device.

    Raises:
        UnsupportedModelError: If the model can't merge tokens, or has no attention to remove.
    """
    checked = check_mergeable(model).eval()
    block = checked.blocks[removable_layers(model)[0]]
    first = merging_blocks([block], r=r, start=0, protected=checked.num_prefix_tokens)
    later, bare = _Sized(first[0]), AttentionFreeBlock(block)
    with torch.no_grad():
        x = stem(checked).forward_features(images)
        stream, whole = x.nbytes, _work(block, x)
        merges, bares = [], []
        for index in range(len(checked.blocks)):
            merges.append(_work(later if index else first, x))
            bares.append(_work(bare, x))
            x = first(x)
    return MergingWork(stream, whole, tuple(merges), tuple(bares))


def _work(block: nn.Module, x: Tensor) -> BlockWork:
    weights = storage_bytes([*block.parameters(), *block.buffers()])
    return BlockWork(count_macs(block, x[:1]), peak_memory(block, x) - weights)
