"""A model as a row of equal blocks: what comes before it, what each block is told, what follows.

Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

import copy
from typing import Any, NamedTuple

import torch
from timm.models.beit import Beit
from timm.models.cait import Cait
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from lambda_nas.core.anatomy import PRE_NORM_BLOCKS
from lambda_nas.core.replacements import AttentionFreeBlock, Zeros
from lambda_nas.errors import UnsupportedModelError

Isotropic = VisionTransformer | Eva | Beit | Cait | VisionTransformerRelPos
SUPPORTED = "pre-norm ViT, DeiT, DINO, EVA, BEiT, CaiT and relative position ViT"


class Context(NamedTuple):
    """What a model gives a block besides its input, such as rotary embeddings."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def check_isotropic(model: nn.Module) -> Isotropic:
    """Return the model itself if it is a row of pre-norm blocks.

    Raises:
        UnsupportedModelError: Names the model or block type and the supported families.
    """
    if not isinstance(model, Isotropic):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no row of equal blocks, which this needs; supported: "
            f"{SUPPORTED}"
        )
    for index, block in enumerate(model.blocks):
        if not isinstance(block, (*PRE_NORM_BLOCKS, AttentionFreeBlock)):
            raise UnsupportedModelError(
                f"block {index} is a {type(block).__name__}, no pre-norm block; supported: "
                f"{SUPPORTED}"
            )
    return model


def stem(model: Isotropic, *blocks: nn.Module) -> Isotropic:
    """Return a view (shared weights) whose ``forward_features`` gives the first block's input.

    If blocks are given, they stand in place of the model's own.
    """
    view = copy.copy(model)
    view._modules = dict(model._modules, blocks=nn.Sequential(*blocks), norm=nn.Identity())
    if isinstance(model, Cait):
        view._modules["blocks_token_only"] = None
    return view


class _Listener(nn.Module):
    context: Context

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.context = Context(args, kwargs)
        return x


@torch.no_grad()
def contexts(model: Isotropic, images: Tensor) -> tuple[Context, ...]:
    """Return the context of each block; it holds for all images of this size."""
    listeners = [_Listener() for _ in model.blocks]
    stem(model, *listeners).forward_features(images)
    return tuple(listener.context for listener in listeners)


def attend(block: nn.Module, x: Tensor, context: Context) -> Tensor:
    """Return the first half of a block: its input plus its attention branch, if it has one.

    ``AttentionFreeBlock(block)`` is the second half. Both map ``[batch, tokens, channels]``.
    """
    if isinstance(block, AttentionFreeBlock):
        return x
    # timm's own forward, with nothing in its other branch.
    half = copy.copy(block)
    half._modules = dict(
        block._modules,
        norm2=nn.Identity(),
        mlp=Zeros(),
        ls2=nn.Identity(),
        drop_path2=nn.Identity(),
    )
    return half(x, *context.args, **context.kwargs)


def prefix_tokens(model: Isotropic) -> int:
    """Return how many tokens of the blocks' states are no patches."""
    # CaiT's class token comes behind the blocks.
    return 0 if isinstance(model, Cait) else model.num_prefix_tokens


def final_norm(model: Isotropic) -> nn.Module | None:
    """Return the norm right behind the last block; CaiT has class attention there."""
    return None if isinstance(model, Cait) else model.norm


def leave(model: Isotropic, state: Tensor, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return features ``[images, channels]`` and logits ``[images, classes]`` of a last state.

    ``norm`` is used instead of the model's final norm.
    """
    if isinstance(model, Cait):
        state = model.forward_cls(state)
    tokens = (norm or model.norm)(state)
    return model.forward_head(tokens, pre_logits=True), model.forward_head(tokens)
