"""Block-by-block access to a model: its stem, the inputs of each block, and its head.

Notation used for tensor shapes: ``[batch, tokens, channels]``, where a Swin transformer has
``[batch, height, width, channels]``. The stream before a block is the output of the previous
block; where a stage begins, the block's own input is that stream after downsampling.
"""

import copy
from typing import Any, NamedTuple

import torch
from timm.models.beit import Beit
from timm.models.cait import Cait
from timm.models.eva import Eva
from timm.models.swin_transformer import PatchMerging, SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock, Zeros
from lambda_nas.models.branches import PRE_NORM_BLOCKS

Blockwise = VisionTransformer | Eva | Beit | Cait | VisionTransformerRelPos | SwinTransformer
SUPPORTED = "pre-norm ViT, DeiT, DINO, EVA, BEiT, CaiT, relative position ViT and Swin"


class Context(NamedTuple):
    """The arguments that a block gets besides its input, such as rotary embeddings."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def check_blockwise(model: nn.Module) -> Blockwise:
    """Return the model itself if it is a plain sequence of pre-norm blocks.

    Raises:
        UnsupportedModelError: If it is not; names the type and the supported families.
    """
    if not isinstance(model, Blockwise):
        raise UnsupportedModelError(
            f"{type(model).__name__} is not a plain sequence of blocks, which this needs; "
            f"supported: {SUPPORTED}"
        )
    for index, block in enumerate(blocks(model)):
        if not isinstance(block, (*PRE_NORM_BLOCKS, AttentionFreeBlock)):
            raise UnsupportedModelError(
                f"block {index} is a {type(block).__name__}, not a pre-norm block; supported: "
                f"{SUPPORTED}"
            )
    return model


def is_blockwise(model: nn.Module) -> bool:
    """Return whether a model passes ``check_blockwise``."""
    try:
        check_blockwise(model)
    except UnsupportedModelError:
        return False
    return True


def blocks(model: Blockwise) -> list[nn.Module]:
    """Return the blocks of all stages in order."""
    stages: Any = model.layers if isinstance(model, SwinTransformer) else [model]
    return [block for stage in stages for block in stage.blocks]


def entries(model: Blockwise) -> list[PatchMerging | None]:
    """Return the downsampling before each block, or ``None`` where there is none."""
    if not isinstance(model, SwinTransformer):
        return [None] * len(model.blocks)
    found: list[PatchMerging | None] = []
    stages: Any = model.layers
    for stage in stages:
        merges = isinstance(stage.downsample, PatchMerging)
        found += [stage.downsample if merges else None, *[None] * (len(stage.blocks) - 1)]
    return found


def stem(model: Blockwise, *listeners: nn.Module) -> Blockwise:
    """Return a view (shared weights) whose ``forward_features`` returns the stream before block 0.

    Listeners, if given, replace the model's blocks.
    """
    view = copy.copy(model)
    row = "layers" if isinstance(model, SwinTransformer) else "blocks"
    view._modules = {**model._modules, row: nn.Sequential(*listeners), "norm": nn.Identity()}
    if isinstance(model, Cait):
        view._modules["blocks_token_only"] = None
    return view


class _Listener(nn.Module):
    context: Context

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.context = Context(args, kwargs)
        return x


@torch.no_grad()
def contexts(model: Blockwise, images: Tensor) -> tuple[Context, ...]:
    """Return the context of each block, which is the same for all images of this size."""
    if isinstance(model, SwinTransformer):
        return (Context((), {}),) * len(blocks(model))
    listeners = [_Listener() for _ in model.blocks]
    stem(model, *listeners).forward_features(images)
    return tuple(listener.context for listener in listeners)


def attend(block: nn.Module, x: Tensor, context: Context) -> Tensor:
    """Return the first half of a block: its input plus its attention branch, if it has one.

    ``AttentionFreeBlock(block)`` is the second half. Both map ``[batch, tokens, channels]``.
    """
    if isinstance(block, AttentionFreeBlock):
        return x
    # timm's own forward, with an empty MLP branch.
    half = copy.copy(block)
    half._modules = dict(
        block._modules,
        norm2=nn.Identity(),
        mlp=Zeros(),
        ls2=nn.Identity(),
        drop_path2=nn.Identity(),
    )
    return half(x, *context.args, **context.kwargs)


def prefix_tokens(model: Blockwise) -> int:
    """Return how many tokens at the start of the stream are not patches."""
    # CaiT adds its class token after these blocks.
    return 0 if isinstance(model, Cait | SwinTransformer) else model.num_prefix_tokens


def final_norm(model: Blockwise) -> nn.Module | None:
    """Return the norm right after the last block; CaiT has class attention there instead."""
    return None if isinstance(model, Cait) else model.norm


def leave(model: Blockwise, state: Tensor, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return features ``[images, channels]`` and logits ``[images, classes]``.

    Args:
        model: The model.
        state: The output of the last block.
        norm: Replaces the model's final norm.
    """
    if isinstance(model, Cait):
        state = model.forward_cls(state)
    tokens = (norm or model.norm)(state)
    return model.forward_head(tokens, pre_logits=True), model.forward_head(tokens)
