"""Every removal set of a model, from one walk of the binary tree of prefixes.

The input of block ``i`` depends only on what is removed below it, so a model of ``L`` removable
layers has ``2^L`` outputs but only ``2^(L+1) - 2`` different block runs, where evaluating each set
on its own takes ``L * 2^L``. Sets are numbered by their ``code``: one bit per removable layer, the
first layer being the highest bit. The walk visits the codes in order and can begin at any of them.

Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import (
    Blockwise,
    attend,
    blocks,
    check_blockwise,
    contexts,
    entries,
    final_norm,
    leave,
    stem,
)
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import removable_layers
from lambda_nas.repair.transplant import Repair, advance
from lambda_nas.scoring.activation_cache import ActivationCache, States


class SetOutput(NamedTuple):
    """The outputs of a model on all images of the walk with one removal set.

    ``features`` (``[images, channels]``) are what the head's last layer reads.
    """

    code: int
    features: Tensor
    logits: Tensor


def set_of(code: int, layers: tuple[int, ...]) -> RemovalSet:
    """Return the set that a code stands for.

    >>> str(set_of(0b101, (0, 1, 2)))
    '{0,2}'
    """
    top = len(layers) - 1
    return RemovalSet(tuple(layer for i, layer in enumerate(layers) if code >> (top - i) & 1))


def code_of(removal: RemovalSet, layers: tuple[int, ...]) -> int:
    """Return the code of a set."""
    return sum(1 << (len(layers) - 1 - layers.index(layer)) for layer in removal)


@torch.inference_mode()
def every_removal(model: nn.Module, images: Tensor, *, first: int = 0) -> Iterator[SetOutput]:
    """Yield the outputs of a batch under plain removal of each set, codes from ``first`` up.

    Keeps one state of the batch per block in memory.

    Args:
        model: In eval mode, where the images are.
        images: ``[batch, channels, height, width]``, normalized.
        first: The code to begin with.
    """
    vit = check_blockwise(model)
    given = contexts(vit, images[:1])
    layers = removable_layers(vit)
    row, before = blocks(vit), entries(vit)
    without = {layer: AttentionFreeBlock(row[layer]) for layer in layers}

    def visit(index: int, code: int, state: Tensor) -> Iterator[SetOutput]:
        if index == len(row):
            yield _output(vit, None, code, [state])
            return
        args, kwargs = given[index]
        state = (before[index] or nn.Identity())(state)
        if index not in without:
            yield from visit(index + 1, code, row[index](state, *args, **kwargs))
        else:
            left = sum(layer > index for layer in layers)
            for removed in (0, 1):
                following = 2 * code + removed
                if _last(following, left) >= first:
                    run = without[index] if removed else row[index]
                    yield from visit(index + 1, following, run(state, *args, **kwargs))

    yield from visit(0, 0, stem(vit).forward_features(images))


@torch.inference_mode()
def every_transplant(
    cache: ActivationCache, images: ImageSet, *, first: int = 0, batch_size: int = 64
) -> Iterator[SetOutput]:
    """Yield the outputs on ``images`` under each set's transplant, codes from ``first`` up.

    A block is repaired for what is removed up to the next block, so each node of the tree has its
    MLP fitted twice at most. The empty set is the unpruned model.

    Args:
        cache: The unpruned model on the calibration images.
        images: What the repaired models are run on; labels are not used.
        first: The code to begin with.
        batch_size: Images per forward pass.
    """
    model, layers = cache.model, cache.layers
    repair = Repair(cache)

    def visit(index: int, code: int, states: States, judged: States) -> Iterator[SetOutput]:
        """Run block ``index``, whose layer is removed if the last bit of the code says so."""
        removed = index in layers and bool(code & 1)
        block, entry = copy.deepcopy((cache.blocks[index], cache.entries[index]))
        if removed:
            block = AttentionFreeBlock(block)
        states, judged = list(states), list(judged)
        if entry is not None:
            repair.enter(entry, index, states, pruned=code > removed, refit=removed)
            advance(judged, entry)
        repair.to_middle(block, index, states, pruned=code > 0)
        advance(judged, partial(attend, block, context=cache.contexts[index]))
        following = index + 1
        left = sum(layer > following for layer in layers)
        for next_removed in (0, 1) if following in layers else (0,):
            after = 2 * code + next_removed if following in layers else code
            if _last(after, left) < first:
                continue
            mlp = AttentionFreeBlock(copy.deepcopy(block))
            if removed or next_removed:
                repair.refit(mlp, index, states, next_removed=bool(next_removed))
            outputs, judged_outputs = list(states), list(judged)
            advance(outputs, mlp)
            advance(judged_outputs, mlp)
            yield from descend(following, after, outputs, judged_outputs)

    def descend(index: int, code: int, states: States, judged: States) -> Iterator[SetOutput]:
        if index < cache.depth:
            yield from visit(index, code, states, judged)
            return
        norm = copy.deepcopy(final_norm(model))
        if code:
            repair.match_final(norm, states)
        yield _output(model, norm, code, judged)

    for removed in (0, 1) if 0 in layers else (0,):
        if _last(removed, sum(layer > 0 for layer in layers)) >= first:
            # A copy: its position embedding is changed.
            view, states = copy.deepcopy(stem(model)), cache.stream(RemovalSet(), 0)
            if removed:
                shift = repair.shift_positions(view)
                states = [state + shift for state in states]
            batches = images.batches(batch_size, device=states[0].device)
            yield from descend(
                0, removed, states, [view.forward_features(batch) for batch, _ in batches]
            )


def _last(code: int, left: int) -> int:
    """Return the last code of the subtree in which ``left`` layers are open."""
    return (code + 1 << left) - 1


def _output(model: Blockwise, norm: nn.Module | None, code: int, states: States) -> SetOutput:
    features, logits = zip(*(leave(model, state, norm) for state in states), strict=True)
    return SetOutput(code, torch.cat(features), torch.cat(logits))
