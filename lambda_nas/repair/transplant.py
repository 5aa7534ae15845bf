"""Transplant: the closed-form repair of a pruned model, without gradients or labels.

The mean output of block 0's attention at each position is added to the position embedding. The MLP
before a removed branch is refitted to output what it and the branch did together, and the MLP
after it to output what the whole block did. Regression shrinks what it can't predict, so from there
on the norms are matched in mean and standard deviation: later branches see the contrast that they
were trained on.

Where a stage begins, the downsampling is repaired like the blocks: its norm is matched, and its
linear layer is refitted if the stage's first attention is removed.

Notation used for tensor shapes: ``[batch, tokens, channels]``; the ``middle`` of a block is the
stream between its attention and its MLP.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lambda_nas.errors import NonFiniteError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import (
    Blockwise,
    Downsampling,
    attend,
    blocks,
    entries,
    final_norm,
    prefix_tokens,
)
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.norm_matching import match_norms
from lambda_nas.repair.ridge import NormalEquations
from lambda_nas.scoring.activation_cache import UNPRUNED, ActivationCache, States

FOLDS = 5

PREFIX_WEIGHT = 20.0


@torch.no_grad()
def transplant(
    cache: ActivationCache, removal: RemovalSet, *, prefix_weight: float = PREFIX_WEIGHT
) -> Blockwise:
    """Remove attention branches and compensate in the layers around them.

    The blocks are repaired in order, from the one before the first removed branch, on the pruned
    model's own states: each fit corrects what the earlier fits have left.

    Args:
        cache: The unpruned model's states on the calibration images, which are the targets.
        removal: The layers to remove.
        prefix_weight: Weight of the error at a class or register token, where a patch token has
            1: these tokens are few, and the head reads them.

    Raises:
        NonFiniteError: If an activation or fitted weight is not finite.
        UnsupportedModelError: If an MLP does not end in a linear layer named ``fc2``.
    """
    pruned = remove_attention(cache.model, removal).model.eval()
    if not removal:
        return pruned
    repair = Repair(cache, prefix_weight=prefix_weight)
    first = removal.layers[0]
    start = max(0, first - 1)
    # A copy of the list, whose tensors are replaced one by one to save memory.
    states = list(cache.stream(UNPRUNED, start))
    if first == 0:
        shift = repair.shift_positions(pruned)
        states = [state + shift for state in states]
    row, before = blocks(pruned), entries(pruned)
    for index in range(start, cache.depth):
        block, entry = row[index], before[index]
        if entry is not None:
            repair.enter(entry, index, states, pruned=index > first, refit=index in removal)
        repair.to_middle(block, index, states, pruned=index >= first)
        mlp = AttentionFreeBlock(block)
        if index in removal or index + 1 in removal:
            repair.refit(mlp, index, states, next_removed=index + 1 in removal)
        advance(states, mlp)
    repair.match_final(final_norm(pruned), states)
    return pruned


class Repair:
    """The steps of a transplant; each starts from the states that the steps before it returned.

    Args:
        cache: The unpruned model's states on the calibration images.
        prefix_weight: As in ``transplant``.
    """

    def __init__(self, cache: ActivationCache, *, prefix_weight: float = PREFIX_WEIGHT) -> None:
        self._cache = cache
        self._prefix_weight = prefix_weight
        model = cache.model
        self._read = slice(0, prefix_tokens(model) if model.global_pool == "token" else None)

    def shift_positions(self, model: Blockwise) -> Tensor:
        """Add block 0's mean attention output at each position to a model's position embedding.

        Returns:
            The addition ``[1, tokens, channels]``; zero if the embedding has another shape.
        """
        states = self._cache.stream(UNPRUNED, 0)
        position, tokens = getattr(model, "pos_embed", None), states[0].shape[1]
        direct = isinstance(getattr(model, "norm_pre", None), nn.Identity | None)
        if position is None or position.shape[1] != tokens or not direct:
            return states[0].new_zeros(())
        middles = self._cache.unpruned_middle(0)
        given = zip(middles, states, strict=True)
        total = torch.stack([(middle - state).sum(0) for middle, state in given]).sum(0)
        shift = total / len(self._cache.images)
        position.add_(shift)
        return shift

    def enter(
        self, entry: Downsampling, index: int, states: States, *, pruned: bool, refit: bool
    ) -> None:
        """Downsample the states to block ``index``'s input.

        Args:
            entry: The pruned model's downsampling, changed in place.
            index: Index of the block after it.
            states: The states, replaced in place.
            pruned: Whether a layer before it is removed, so that the norm must be matched.
            refit: Whether the block's attention is removed, so that the linear layer must
                compensate for it.
        """
        at_norm = copy.copy(entry)
        at_norm._modules = {"norm": nn.Identity(), "reduction": nn.Identity()}
        grouped = [at_norm(state) for state in states]
        weights = self._weights(grouped)
        if pruned:
            original = self._cache.entries[index]
            assert original is not None
            streams = self._cache.stream(UNPRUNED, index)
            match_norms(entry.norm, grouped, map(original.norm, map(at_norm, streams)), weights)
        if refit:
            targets = self._cache.unpruned_middle(index)
            _refit(entry, entry.reduction, index, states, targets, weights)
        advance(states, entry)

    def to_middle(self, block: nn.Module, index: int, states: States, *, pruned: bool) -> None:
        """Advance the states to a block's middle; match its norms if ``pruned``."""
        run = partial(attend, block, context=self._cache.contexts[index])
        if not pruned:
            advance(states, run)
            return
        original = self._cache.blocks[index]
        if not isinstance(block, AttentionFreeBlock):
            inputs = self._cache.unpruned_input(index)
            targets = map(original.get_submodule("norm1"), inputs)
            match_norms(block.get_submodule("norm1"), states, targets, self._weights(states))
        advance(states, run)
        targets = map(original.get_submodule("norm2"), self._cache.unpruned_middle(index))
        match_norms(block.get_submodule("norm2"), states, targets, self._weights(states))

    def refit(
        self, mlp: AttentionFreeBlock, index: int, states: States, *, next_removed: bool
    ) -> None:
        """Refit a block's MLP, to compensate for the next attention too if that is removed.

        The last MLP of a stage can't compensate for the next stage's attention; ``enter`` does.
        """
        if next_removed and self._cache.entries[index + 1] is None:
            targets = self._cache.unpruned_middle(index + 1)
        else:
            targets = self._cache.stream(UNPRUNED, index + 1)
        linear = getattr(mlp.mlp, "fc2", None)
        if not isinstance(linear, nn.Linear):
            raise UnsupportedModelError(
                f"the MLP of block {index} ({type(mlp.mlp).__name__}) has no linear layer fc2 "
                "to refit"
            )
        _refit(mlp, linear, index, states, targets, self._weights(states))

    def match_final(self, norm: nn.Module | None, states: States) -> None:
        """Match the norm after the last block, if any, at the tokens that the head reads."""
        original = final_norm(self._cache.model)
        if norm is None or original is None:
            return
        ends = self._cache.stream(UNPRUNED, self._cache.depth)
        match_norms(
            norm,
            (state[:, self._read] for state in states),
            (original(state[:, self._read]) for state in ends),
            self._weights(states)[self._read],
        )

    def _weights(self, states: States) -> Tensor:
        """Return the weight of the error at each token, ``[tokens]``."""
        weights = states[0].new_ones(states[0].shape[1:-1].numel())
        weights[: prefix_tokens(self._cache.model)] = self._prefix_weight
        return weights


def advance(states: States, run: Callable[[Tensor], Tensor]) -> None:
    """Replace each batch of states by the output of ``run`` on it."""
    for position, state in enumerate(states):
        states[position] = run(state)


def _refit(
    run: AttentionFreeBlock | Downsampling,
    linear: nn.Linear,
    index: int,
    states: States,
    targets: States,
    weights: Tensor,
) -> None:
    """Refit the linear layer so that its module maps the states closer to the targets."""
    change = _normal_equations(run, linear, states, targets, weights).solve()
    if not torch.isfinite(change).all():
        raise NonFiniteError(
            f"the transplant of block {index} is not finite: check the weights and images"
        )
    linear.weight.add_(change[:-1].T.to(linear.weight))
    if linear.bias is not None:
        linear.bias.add_(change[-1].to(linear.bias))


def _normal_equations(
    run: AttentionFreeBlock | Downsampling,
    linear: nn.Linear,
    states: States,
    targets: States,
    weights: Tensor,
) -> NormalEquations:
    """Sum over all batches the layer's inputs and the module's residuals.

    A module that already matches the targets has residuals of exactly zero and does not change.
    """
    scale: Tensor | float = 1.0
    call: Callable[[Tensor], Tensor] = run
    if isinstance(run, AttentionFreeBlock):
        scale, call = run.layer_scale, run.whole
    seen: list[Tensor] = []
    hook = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    equations = NormalEquations.empty(
        min(FOLDS, max(map(len, states))),
        linear.in_features + 1,
        linear.out_features,
        weights.device,
    )
    try:
        for state, target in zip(states, targets, strict=True):
            residuals = (target - call(state)) / scale
            equations.add(seen.pop(), residuals, weights)
    finally:
        hook.remove()
    if linear.bias is None:
        equations.gram[:, -1, :], equations.gram[:, :, -1], equations.cross[:, -1] = 0, 0, 0
        equations.gram[:, -1, -1] = 1
    return equations
