"""A cache of a model's hidden states under many removal sets, each computed once.

The stream before block ``i`` depends only on the removed layers below ``i``, so removal sets that
agree there share it. The prior and the transplant both use this cache.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import (
    Context,
    attend,
    blocks,
    check_blockwise,
    contexts,
    entries,
    leave,
    stem,
)
from lambda_nas.models.merging import NO_MERGING, Merging, first_merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import removable_layers
from lambda_nas.token_merging.bipartite_matching import Tokens
from lambda_nas.token_merging.blocks import MergingBlock, check_mergeable

States = list[Tensor]
MergedStates = list[Tokens]
StateT = TypeVar("StateT", Tensor, Tokens)
MOST_PLACES = 128
"""Maximum number of cached states: a greedy path through 12 layers needs 78, and a long search must
not take more and more memory."""

LIMIT_BYTES = 3 << 28

UNPRUNED = RemovalSet()


class _Place(NamedTuple):
    """A position in the model, and the removed layers below it."""

    below: RemovalSet
    block: int
    middle: bool = False
    merging: Merging = NO_MERGING


class ActivationCache:
    """Runs a fixed model on fixed images block by block, and caches the stream before each block.

    Args:
        model: The unpruned model; it is put in eval mode, and its weights must not change.
        images: Calibration images; their labels are not used.
        batch_size: Images per forward pass.
        limit_bytes: Above this size, or above ``MOST_PLACES`` states, the least recently used
            states are dropped; if needed again, they are recomputed from the deepest state left.

    Attributes:
        blocks: The model's blocks in order.
        entries: The downsampling before each block, see ``blockwise.entries``.
        block_runs: How many times a block has been run on all images.
    """

    def __init__(
        self,
        model: nn.Module,
        images: ImageSet,
        *,
        # With this size a batch of DeiT-Base's states is 39 MB, and malloc returns freed chunks
        # above 32 MB to the system. With batches of 32 it held half a gigabyte
        # (benchmarks/repair_memory.py).
        batch_size: int = 64,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.model = check_blockwise(model).eval()
        self.images = images
        self.layers = removable_layers(model)
        self.blocks = blocks(self.model)
        self.entries = entries(self.model)
        self.depth = len(self.blocks)
        self.block_runs = 0
        self._batch_size = batch_size
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._cache: OrderedDict[_Place, States | MergedStates] = OrderedDict()

    def stream(self, removal: RemovalSet, index: int) -> States:
        """Return the stream before block ``index``, one ``[batch, tokens, channels]`` per batch.

        With ``index`` equal to the depth, return the last block's output. Don't modify the result.
        """

        def place(block: int) -> _Place:
            return _Place(removal.below(block), block)

        def run(states: States, block: int) -> States:
            return self._run_block(states, block, removed=block in removal)

        def begin() -> States:
            return self._get(place(0), self._embed)

        return self._walk(place, range(index), begin, run)

    @torch.inference_mode()
    def unpruned_input(self, index: int) -> States:
        """Return the unpruned model's input of block ``index``, after any downsampling."""
        entry, states = self.entries[index], self.stream(UNPRUNED, index)
        return states if entry is None else [entry(state) for state in states]

    @torch.inference_mode()
    def unpruned_middle(self, index: int) -> States:
        """Return the unpruned model's stream between attention and MLP of block ``index``."""
        block, context = self.blocks[index], self.contexts[index]
        return self._get(
            _Place(UNPRUNED, index, middle=True),
            lambda: [attend(block, state, context) for state in self.unpruned_input(index)],
        )

    @torch.inference_mode()
    def head(self, removal: RemovalSet, merging: Merging = NO_MERGING) -> tuple[Tensor, Tensor]:
        """Return features ``[images, channels]`` and logits ``[images, classes]``."""
        features, logits = [], []
        states = self._merged(removal, merging) if merging else self.stream(removal, self.depth)
        for state in states:
            ends = leave(self.model, state)
            features.append(ends[0])
            logits.append(ends[1])
        return torch.cat(features), torch.cat(logits)

    def _merged(self, removal: RemovalSet, merging: Merging) -> States:
        """Return the last block's output with tokens merged."""
        protected = check_mergeable(self.model).num_prefix_tokens
        first = first_merging((each for each in self.layers if each not in removal), merging)
        if first is None:
            return self.stream(removal, self.depth)
        # Every start between two blocks with attention gives the same states: cache them once.
        merging = Merging(merging.r, first)

        def place(index: int) -> _Place:
            return _Place(removal.below(index), index, merging=merging)

        def begin() -> MergedStates:
            return [Tokens(state, None) for state in self.stream(removal, first)]

        def run(states: MergedStates, position: int) -> MergedStates:
            block = self.blocks[position]
            if position in removal:
                bare = AttentionFreeBlock(block)
                return [state._replace(x=bare(state.x)) for state in states]
            merges = MergingBlock(block, r=merging.r, protected=protected)
            return [merges(state) for state in states]

        return [state.x for state in self._walk(place, range(first, self.depth), begin, run)]

    def _walk(
        self,
        place: Callable[[int], _Place],
        positions: range,
        begin: Callable[[], list[StateT]],
        run: Callable[[list[StateT], int], list[StateT]],
    ) -> list[StateT]:
        """Run blocks from the last cached place on, and cache the stream before each next one."""
        start = positions.stop
        while start > positions.start and place(start) not in self._cache:
            start -= 1
        states = begin() if start == positions.start else self._get(place(start), begin)
        for position in range(start, positions.stop):
            states = run(states, position)
            self.block_runs += 1
            self._put(place(position + 1), states)
        return states

    @cached_property
    def contexts(self) -> tuple[Context, ...]:
        """The arguments that each block gets besides its input."""
        device = next(self.model.parameters()).device
        images, _ = next(self.images.subset(torch.arange(1)).batches(1, device=device))
        return contexts(self.model, images)

    def keep_only_above(self, removal: RemovalSet) -> None:
        """Drop the states that no superset of ``removal`` can use."""
        for place in list(self._cache):
            if not set(removal.below(place.block)) <= set(place.below):
                self._drop(place)

    @torch.inference_mode()
    def _run_block(self, states: States, index: int, *, removed: bool) -> States:
        block, entry = self.blocks[index], self.entries[index] or nn.Identity()
        run = AttentionFreeBlock(block) if removed else block
        args, kwargs = self.contexts[index]
        return [run(entry(state), *args, **kwargs) for state in states]

    @torch.inference_mode()
    def _embed(self) -> States:
        device = next(self.model.parameters()).device
        view = stem(self.model)
        batches = self.images.batches(self._batch_size, device=device)
        return [view.forward_features(images) for images, _ in batches]

    def _get(self, place: _Place, make: Callable[[], list[StateT]]) -> list[StateT]:
        if place not in self._cache:
            self._put(place, make())
        self._cache.move_to_end(place)
        return cast("list[StateT]", self._cache[place])

    def _put(self, place: _Place, states: States | MergedStates) -> None:
        self._cache[place] = states
        self._bytes += _size(states)
        while len(self._cache) > 1 and self._is_full():
            self._drop(next(iter(self._cache)))

    def _is_full(self) -> bool:
        return self._bytes > self._limit_bytes or len(self._cache) > MOST_PLACES

    def _drop(self, place: _Place) -> None:
        self._bytes -= _size(self._cache.pop(place))


def _size(states: States | MergedStates) -> int:
    return sum(state.nbytes if isinstance(state, Tensor) else state.x.nbytes for state in states)
