"""What a network that merges tokens takes, without building it: multiply-accumulates and memory.

In an isotropic ViT what a block does depends only on its kind and on the number of tokens that
reach it, that is, on how many blocks before it have merged. So each kind is measured once for each
of these; any removal set's network is their sum, or their maximum.
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
    """Multiply-accumulates of an image, and bytes of a batch's activations at the peak."""

    macs: int
    bytes: int


@dataclass(frozen=True)
class MergingWork:
    """What blocks take where each that merges merges so many pairs.

    Attributes:
        stream: Bytes of what reaches the first block, which lives on while the others run.
        whole: A block that does not merge and has attention.
        merging: A block that merges, by how many merged before it.
        bare: A block without attention, by how many merged before it.
    """

    stream: int
    whole: BlockWork
    merging: tuple[BlockWork, ...]
    bare: tuple[BlockWork, ...]

    def macs_saved(self, attending: Container[int], start: int) -> int:
        """Return how many fewer an image takes than in the same network without merging.

        ``attending`` are the blocks that have attention, ``start`` the first that may merge.
        """
        unmerged = sum(
            (self.whole if block in attending else self.bare[0]).macs
            for block in range(len(self.merging))
        )
        return unmerged - sum(block.macs for block in self._blocks(attending, start))

    def bytes_saved(self, attending: Container[int], start: int) -> int:
        """Return how many fewer a batch's activations take at the peak; merging may take more.

        Fewer than without merging, where some block but the first has attention.
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
    """A block that merges, as it runs where tokens have been merged before."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tokens:
        return self.block(Tokens(x, torch.ones_like(x[..., :1])))


def measure_merging_work(model: nn.Module, r: int, images: Tensor) -> MergingWork:
    """Measure each kind of block; nothing is timed.

    Args:
        model: The unpruned model.
        r: Pairs of tokens that a block merges.
        images: A batch ``[images, channels, height, width]``, where the model is.

    Raises:
        UnsupportedModelError: If the model can't merge tokens, or has no attention to remove.
    """
    checked = check_mergeable(model).eval()
    block = checked.blocks[removable_layers(model)[0]]
    first = merging_blocks([block], r=r, start=0, protected=checked.num_prefix_tokens)
    later, bare = _Sized(first[0]), AttentionFreeBlock(block)
    with torch.inference_mode():
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
