"""Closed-form repair of a pruned model: no gradient, no labels (design, part 2, "Transplant").

Notation used for tensor shapes: ``[batch, tokens, channels]``; ``hidden`` is the width of the MLP.
"""

import torch
from timm.layers import LayerScale
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lambda_nas.core.prefixes import PrefixStates, States
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import AttentionFreeBlock, remove_attention
from lambda_nas.errors import NonFiniteError, UnsupportedModelError


@torch.no_grad()
def transplant(
    prefixes: PrefixStates,
    removal: RemovalSet,
    *,
    ridge: float = 1e-2,
    prefix_weight: float = 20.0,
) -> VisionTransformer:
    """Remove the set's attention and refit each such block's ``mlp.fc2`` to make up for it.

    The blocks are walked in order. A removed block is fitted from the pruned model's own hidden
    activations to the unpruned block's output, by ridge regression towards the old weights.

    Args:
        prefixes: The unpruned model on the calibration images; its states are the targets.
        removal: The layers to remove.
        ridge: Strength of the pull to the old weights, relative to the mean squared activation.
        prefix_weight: How much more an error at a class or register token counts than one at a
            patch token: they are few, and the head reads them.

    Raises:
        NonFiniteError: If an activation or fitted weight is not finite.
        UnsupportedModelError: If an MLP does not end in a linear layer named ``fc2``.
    """
    pruned = remove_attention(prefixes.model, removal).model.eval()
    if not removal:
        return pruned
    unpruned = RemovalSet()
    states = prefixes.block_input(unpruned, removal.layers[0])
    weights = _token_weights(pruned, states[0], prefix_weight)
    for index in range(removal.layers[0], removal.layers[-1] + 1):
        block = pruned.blocks[index]
        if isinstance(block, AttentionFreeBlock) and index in removal:
            _refit(block, states, prefixes.block_input(unpruned, index + 1), weights, ridge, index)
        states = [block(state) for state in states]
    return pruned


def _token_weights(model: VisionTransformer, state: Tensor, prefix_weight: float) -> Tensor:
    weights = state.new_ones(state.shape[1])
    weights[: model.num_prefix_tokens] = prefix_weight
    return weights


def _refit(
    block: AttentionFreeBlock,
    inputs: States,
    targets: States,
    weights: Tensor,
    ridge: float,
    index: int,
) -> None:
    """Change ``fc2`` so that the block maps its inputs nearer to the targets."""
    linear = getattr(block.mlp, "fc2", None)
    if not isinstance(linear, nn.Linear):
        raise UnsupportedModelError(
            f"the MLP of block {index} ({type(block.mlp).__name__}) has no linear layer `fc2` "
            "to refit"
        )
    gram, cross = _normal_equations(block, linear, inputs, targets, weights)
    strength = ridge * gram.diagonal()[:-1].mean()
    penalty = strength.expand(len(gram)).clone()
    penalty[-1] = 0  # The bias is free.
    solution = torch.linalg.solve(gram + penalty.diag(), cross)
    if not torch.isfinite(solution).all():
        raise NonFiniteError(
            f"the transplant of block {index} is not finite: check the weights and images"
        )
    linear.weight.add_(solution[:-1].T.to(linear.weight))
    if linear.bias is not None:
        linear.bias.add_(solution[-1].to(linear.bias))


def _normal_equations(
    block: AttentionFreeBlock,
    linear: nn.Linear,
    inputs: States,
    targets: States,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Accumulate ``[hidden + 1, hidden + 1]`` and ``[hidden + 1, channels]`` in float64.

    The right side is the residual of the block as it is, so that a block with nothing to make up
    for is left exactly alone, and the penalty on the change is the pull to the old weights.
    """
    seen: list[Tensor] = []
    hook = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    width = linear.in_features + 1
    gram = torch.zeros(width, width, dtype=torch.float64, device=weights.device)
    cross = torch.zeros(width, linear.out_features, dtype=torch.float64, device=weights.device)
    scale = block.ls2.gamma if isinstance(block.ls2, LayerScale) else 1.0
    try:
        for state, target in zip(inputs, targets, strict=True):
            residual = (target - block(state)) / scale
            hidden = seen.pop()
            root = weights.sqrt().view(1, -1, 1)
            design = torch.cat([hidden, hidden.new_ones(*hidden.shape[:2], 1)], dim=-1) * root
            design = design.flatten(0, 1)
            gram += (design.T @ design).double()
            cross += (design.T @ (residual * root).flatten(0, 1)).double()
    finally:
        hook.remove()
    if linear.bias is None:
        gram[-1, :], gram[:, -1], cross[-1] = 0, 0, 0
        gram[-1, -1] = 1
    return gram, cross
