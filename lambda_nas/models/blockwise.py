"""Block-by-block access to a model: its stem, the inputs of each block, and its head.

Notation used for tensor shapes: ``[batch, tokens, channels]``, where a Swin transformer has
``[batch, height, width, channels]``. The stream before a block is the output of the previous
block; where a stage begins, the block's own input is that stream after downsampling.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock, Zeros
from lambda_nas.models.branches import is_pre_norm_block
from lambda_nas.models.timm_names import timm_classes

VIT = ("models.vision_transformer", "VisionTransformer")
DISTILLED = ("models.deit", "VisionTransformerDistilled")
CAIT = ("models.cait", "Cait")
SWIN = ("models.swin_transformer", "SwinTransformer")
ROWS_OF_BLOCKS = (
    VIT,
    ("models.eva", "Eva"),
    ("models.beit", "Beit"),
    ("models.vision_transformer_relpos", "VisionTransformerRelPos"),
    CAIT,
    SWIN,
)
SUPPORTED = "pre-norm ViT, DeiT, DINO, EVA, BEiT, CaiT, relative position ViT and Swin"


# They give the same for ``c * x`` as for ``x`` once their eps is multiplied by ``c ** 2``.
SCALE_INVARIANT_NORMS = (
    ("layers", "RmsNorm"),
    ("layers", "RmsNormFp32"),
    ("layers", "SimpleNorm"),
    ("layers", "SimpleNormFp32"),
)


class Blockwise(nn.Module):
    """What a type checker is told of the ``ROWS_OF_BLOCKS``, none of which inherits from it."""

    blocks: nn.Sequential
    norm: nn.Module
    fc_norm: nn.Module
    global_pool: str
    num_prefix_tokens: int
    forward_features: Callable[[Tensor], Tensor]
    forward_cls: Callable[[Tensor], Tensor]
    forward_head: Callable[..., Tensor]


class Downsampling(nn.Module):
    """What a type checker is told of Swin's ``PatchMerging``, which does not inherit from it."""

    norm: nn.Module
    reduction: nn.Linear


class Context(NamedTuple):
    """The arguments that a block gets besides its input, such as rotary embeddings."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def check_blockwise(model: nn.Module) -> Blockwise:
    """Return the model itself if it is a plain sequence of pre-norm blocks.

    Raises:
        UnsupportedModelError: If it is not; names the type and the supported families.
    """
    if not isinstance(model, timm_classes(*ROWS_OF_BLOCKS)):
        raise UnsupportedModelError(
            f"{type(model).__name__} is not a plain sequence of blocks, which this needs; "
            f"supported: {SUPPORTED}"
        )
    row = cast("Blockwise", model)
    for index, block in enumerate(blocks(row)):
        if not (is_pre_norm_block(block) or isinstance(block, AttentionFreeBlock)):
            raise UnsupportedModelError(
                f"block {index} is a {type(block).__name__}, not a pre-norm block; supported: "
                f"{SUPPORTED}"
            )
    return row


def is_blockwise(model: nn.Module) -> bool:
    """Return whether a model passes ``check_blockwise``."""
    try:
        check_blockwise(model)
    except UnsupportedModelError:
        return False
    return True


def is_cait(model: nn.Module) -> bool:
    """Say whether a model's class token attends to the patches behind the blocks only."""
    return isinstance(model, timm_classes(CAIT))


def _is_swin(model: nn.Module) -> bool:
    return isinstance(model, timm_classes(SWIN))


def blocks(model: Blockwise) -> list[nn.Module]:
    """Return the blocks of all stages in order."""
    stages: Any = model.layers if _is_swin(model) else [model]
    return [block for stage in stages for block in stage.blocks]


def entries(model: Blockwise) -> list[Downsampling | None]:
    """Return the downsampling before each block, or ``None`` where there is none."""
    if not _is_swin(model):
        return [None] * len(model.blocks)
    found: list[Downsampling | None] = []
    stages: Any = model.layers
    for stage in stages:
        merges = isinstance(
            stage.downsample, timm_classes(("models.swin_transformer", "PatchMerging"))
        )
        found += [stage.downsample if merges else None, *[None] * (len(stage.blocks) - 1)]
    return found


def stem(model: Blockwise, *listeners: nn.Module) -> Blockwise:
    """Return a view (shared weights) whose ``forward_features`` returns the stream before block 0.

    Listeners, if given, replace the model's blocks.
    """
    view = copy.copy(model)
    row = "layers" if _is_swin(model) else "blocks"
    view._modules = {**model._modules, row: nn.Sequential(*listeners), "norm": nn.Identity()}
    if is_cait(model):
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
    if _is_swin(model):
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
    return 0 if is_cait(model) or _is_swin(model) else model.num_prefix_tokens


def final_norm(model: Blockwise) -> nn.Module | None:
    """Return the norm right after the last block; CaiT has class attention there instead."""
    return None if is_cait(model) else model.norm


def leave(model: Blockwise, state: Tensor, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return features ``[images, channels]`` and logits ``[images, classes]``.

    Args:
        model: The model.
        state: The output of the last block.
        norm: Replaces the model's final norm.
    """
    if is_cait(model):
        state = model.forward_cls(state)
    tokens = (norm or model.norm)(state)
    return model.forward_head(tokens, pre_logits=True), model.forward_head(tokens)


def is_distilled(model: nn.Module) -> bool:
    """Say whether a second head reads a distillation token."""
    return isinstance(model, timm_classes(DISTILLED))


def is_scale_invariant(norm: nn.Module) -> bool:
    """Say whether a norm gives the same for any multiple of its input, up to its eps."""
    return isinstance(norm, (nn.LayerNorm, nn.RMSNorm, *timm_classes(*SCALE_INVARIANT_NORMS)))


def is_plain_vit(model: nn.Module) -> bool:
    """Say whether a model is a ViT or DeiT, and no subclass, which may run its blocks otherwise."""
    return type(model) in timm_classes(VIT, DISTILLED)


def is_plain_block(block: nn.Module) -> bool:
    """Say whether a block is that of the plain ViT, and no subclass."""
    return type(block) in timm_classes(("models.vision_transformer", "Block"))


def is_plain_attention(attention: nn.Module) -> bool:
    """Say whether an attention is that of the plain ViT, and no subclass."""
    return type(attention) in timm_classes(("layers", "Attention"))


def window_misfit(block: nn.Module) -> str | None:
    """Say which windows of a Swin block don't divide its feature map; ``None`` if they do."""
    if not isinstance(block, timm_classes(("models.swin_transformer", "SwinTransformerBlock"))):
        return None
    size: Any = block.input_resolution
    window: Any = block.window_size
    if not (size[0] % window[0] or size[1] % window[1]):
        return None
    return f"windows of {window[0]}x{window[1]} don't divide the feature map of {size[0]}x{size[1]}"
