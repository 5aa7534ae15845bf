"""Closed-form repair of a pruned model: no gradient, no labels (design, part 2, "Transplant").

What attention gave at each position on average goes into the position embedding (block 0). The MLP
before a removed branch is refitted to give what branch and MLP gave together, the MLP behind it to
give the whole block's output. Regression shrinks what it can't predict, so from there on the norms
are matched in mean and standard deviation: later branches see the contrast they were trained on.

Where a stage begins, the downsampling before it is repaired like the blocks: its norm is matched,
and its linear layer refitted if the stage's first attention is gone.

Notation used for tensor shapes: ``[batch, tokens, channels]``; a block's ``middle`` is its stream
between attention and MLP.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn

from lambda_nas.errors import NonFiniteError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import (
    Blockwise,
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
    prefixes: ActivationCache, removal: RemovalSet, *, prefix_weight: float = PREFIX_WEIGHT
) -> Blockwise:
    """Remove the set's attention and make up for it in the layers around it.

    The blocks are walked in order, from the one before the first removed one, with the pruned
    model's own states: each fit sees what the fits before it have left.

    Args:
        prefixes: The unpruned model on the calibration images; its states are the targets.
        removal: The layers to remove.
        prefix_weight: How much more an error at a class or register token counts than one at a
            patch token: they are few, and the head reads them.

    Raises:
        NonFiniteError: If an activation or fitted weight is not finite.
        UnsupportedModelError: If an MLP does not end in a linear layer named ``fc2``.
    """
    pruned = remove_attention(prefixes.model, removal).model.eval()
    if not removal:
        return pruned
    repair = Repair(prefixes, prefix_weight=prefix_weight)
    first = removal.layers[0]
    start = max(0, first - 1)
    # A list of our own: its tensors are replaced one by one, so that two are never whole.
    states = list(prefixes.stream(UNPRUNED, start))
    if first == 0:
        shift = repair.shift_positions(pruned)
        states = [state + shift for state in states]
    row, before = blocks(pruned), entries(pruned)
    for index in range(start, prefixes.depth):
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
    """The steps of a transplant, each from the states that the steps before it have left.

    Args:
        prefixes: The unpruned model on the calibration images.
        prefix_weight: As in ``transplant``.
    """

    def __init__(self, prefixes: ActivationCache, *, prefix_weight: float = PREFIX_WEIGHT) -> None:
        self._prefixes = prefixes
        self._prefix_weight = prefix_weight
        model = prefixes.model
        self._read = slice(0, prefix_tokens(model) if model.global_pool == "token" else None)

    def shift_positions(self, model: Blockwise) -> Tensor:
        """Add block 0's mean attention output at each position to a model's position embedding.

        Returns:
            What was added, ``[1, tokens, channels]``; zero if the embedding can't hold it.
        """
        states = self._prefixes.stream(UNPRUNED, 0)
        position, tokens = getattr(model, "pos_embed", None), states[0].shape[1]
        direct = isinstance(getattr(model, "norm_pre", None), nn.Identity | None)
        if position is None or position.shape[1] != tokens or not direct:
            return states[0].new_zeros(())
        middles = self._prefixes.unpruned_middle(0)
        given = zip(middles, states, strict=True)
        total = torch.stack([(middle - state).sum(0) for middle, state in given]).sum(0)
        shift = total / len(self._prefixes.images)
        position.add_(shift)
        return shift

    def enter(
        self, entry: PatchMerging, index: int, states: States, *, pruned: bool, refit: bool
    ) -> None:
        """Downsample the states to block ``index``'s input.

        Args:
            entry: The pruned model's downsampling, changed in place.
            index: Of the block behind it.
            states: Replaced.
            pruned: Whether any layer is gone so far: the norm is matched then.
            refit: Whether the block has lost its attention: the linear layer is to give it too.
        """
        at_norm = copy.copy(entry)
        at_norm._modules = {"norm": nn.Identity(), "reduction": nn.Identity()}
        grouped = [at_norm(state) for state in states]
        weights = self._weights(grouped)
        if pruned:
            original = self._prefixes.entries[index]
            assert original is not None
            streams = self._prefixes.stream(UNPRUNED, index)
            match_norms(entry.norm, grouped, map(original.norm, map(at_norm, streams)), weights)
        if refit:
            targets = self._prefixes.unpruned_middle(index)
            _refit(entry, entry.reduction, index, states, targets, weights)
        advance(states, entry)

    def to_middle(self, block: nn.Module, index: int, states: States, *, pruned: bool) -> None:
        """Advance the states to the block's middle; match its norms if any layer is gone so far."""
        run = partial(attend, block, context=self._prefixes.contexts[index])
        if not pruned:
            advance(states, run)
            return
        original = self._prefixes.blocks[index]
        if not isinstance(block, AttentionFreeBlock):
            inputs = self._prefixes.unpruned_input(index)
            targets = map(original.get_submodule("norm1"), inputs)
            match_norms(block.get_submodule("norm1"), states, targets, self._weights(states))
        advance(states, run)
        targets = map(original.get_submodule("norm2"), self._prefixes.unpruned_middle(index))
        match_norms(block.get_submodule("norm2"), states, targets, self._weights(states))

    def refit(
        self, mlp: AttentionFreeBlock, index: int, states: States, *, next_removed: bool
    ) -> None:
        """Refit a block's MLP from its middle, to give the next attention too if that goes.

        The last MLP of a stage can't give the next one's; ``enter`` does.
        """
        if next_removed and self._prefixes.entries[index + 1] is None:
            targets = self._prefixes.unpruned_middle(index + 1)
        else:
            targets = self._prefixes.stream(UNPRUNED, index + 1)
        linear = getattr(mlp.mlp, "fc2", None)
        if not isinstance(linear, nn.Linear):
            raise UnsupportedModelError(
                f"the MLP of block {index} ({type(mlp.mlp).__name__}) has no linear layer `fc2` "
                "to refit"
            )
        _refit(mlp, linear, index, states, targets, self._weights(states))

    def match_final(self, norm: nn.Module | None, states: States) -> None:
        """Match the norm behind the last block, if any, at the tokens that the head reads."""
        original = final_norm(self._prefixes.model)
        if norm is None or original is None:
            return
        ends = self._prefixes.stream(UNPRUNED, self._prefixes.depth)
        match_norms(
            norm,
            (state[:, self._read] for state in states),
            (original(state[:, self._read]) for state in ends),
            self._weights(states)[self._read],
        )

    def _weights(self, states: States) -> Tensor:
        """Return how much an error at each token counts, ``[tokens]``."""
        weights = states[0].new_ones(states[0].shape[1:-1].numel())
        weights[: prefix_tokens(self._prefixes.model)] = self._prefix_weight
        return weights


def advance(states: States, run: Callable[[Tensor], Tensor]) -> None:
    """Replace each batch by what a part of the model makes of it."""
    for position, state in enumerate(states):
        states[position] = run(state)


def _refit(
    run: AttentionFreeBlock | PatchMerging,
    linear: nn.Linear,
    index: int,
    states: States,
    targets: States,
    weights: Tensor,
) -> None:
    """Change the linear layer so that its module maps its inputs nearer to the targets."""
    change = _normal_equations(run, linear, states, targets, weights).solve()
    if not torch.isfinite(change).all():
        raise NonFiniteError(
            f"the transplant of block {index} is not finite: check the weights and images"
        )
    linear.weight.add_(change[:-1].T.to(linear.weight))
    if linear.bias is not None:
        linear.bias.add_(change[-1].to(linear.bias))


def _normal_equations(
    run: AttentionFreeBlock | PatchMerging,
    linear: nn.Linear,
    states: States,
    targets: States,
    weights: Tensor,
) -> NormalEquations:
    """Sum up over all batches what the layer reads and what the module's output lacks.

    A module with nothing to make up for lacks exactly zero, and is left exactly alone.
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
            lacking = (target - call(state)) / scale
            equations.add(seen.pop(), lacking, weights)
    finally:
        hook.remove()
    if linear.bias is None:
        equations.gram[:, -1, :], equations.gram[:, :, -1], equations.cross[:, -1] = 0, 0, 0
        equations.gram[:, -1, -1] = 1
    return equations
