"""What stands in a model where an attention branch was.

Notation used for tensor shapes: ``[batch, tokens, channels]``; hierarchical models have
``[batch, height, width, channels]``, and the like, instead.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

AFTER_MLP = ("ls2", "gamma_2", "drop_path2", "drop_path")
"""What a block may put between its MLP and its residual stream."""


IN_CACHE_BYTES = 1 << 20
"""Of a block's input; its hidden layer is about four times as large."""


def pass_through(block: nn.Module, parts: Sequence[str], x: Tensor) -> Tensor:
    """Return what a block's scales, which may be bare parameters, and drop paths make of ``x``."""
    for name in parts:
        part = getattr(block, name)
        x = part * x if isinstance(part, Tensor) else part(x)
    return x


def zeros(x: Tensor) -> Tensor:
    """Return zeros of the same shape, which take no memory."""
    return x.new_zeros(()).expand(x.shape)


def in_parts(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run something that treats each image on its own, on a CPU a few images at a time.

    The wide hidden layer of a whole batch goes through memory several times there; that of few
    images stays in the caches (``benchmarks/speed.py``).

    Args:
        run: Maps ``[batch, ...]`` to the same shape.
        x: Its input.
    """
    # Gradients need the whole hidden layer anyway; a compiler fuses what goes through memory here.
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not x.is_cpu or len(x) < 2:
        return run(x)
    # Nor so few that an MLP's weights, four times as large, go through memory more than images do.
    images = max(IN_CACHE_BYTES, 8 * x.shape[-1] ** 2) * len(x) // x.nbytes
    if images >= len(x):
        return run(x)
    out, images = torch.empty_like(x), max(1, images)
    for part, into in zip(x.split(images), out.split(images), strict=True):
        into.copy_(run(part))
    return out


class AttentionFreeBlock(nn.Module):
    """A block of the removal set: ``x + mlp(norm2(x))`` and nothing else.

    The children are the original block's own, under the same names, so that a state dict of the
    pruned model is that of the unpruned one without the removed branch's entries.
    """

    norm2: nn.Module
    mlp: nn.Module

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm2 = block.get_submodule("norm2")
        self.mlp = block.get_submodule("mlp")
        # DeiT scales by a module; EVA, BEiT and CaiT by a parameter, or None.
        named = ((name, getattr(block, name, None)) for name in AFTER_MLP)
        self.after_mlp = tuple(name for name, part in named if part is not None)
        for name in self.after_mlp:
            setattr(self, name, getattr(block, name))
        self.train(block.training)

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Map ``[batch, tokens, channels]`` to the same shape; masks have nothing to act on."""
        return in_parts(self.whole, x)

    def whole(self, x: Tensor) -> Tensor:
        """Do the same with all images at once, for whoever listens to a layer."""
        return x + pass_through(self, self.after_mlp, self.mlp(self.norm2(x)))

    @property
    def layer_scale(self) -> Tensor | float:
        """What each channel of the MLP's output is multiplied by, ``[channels]`` or 1."""
        scale = getattr(self, self.after_mlp[0], None) if self.after_mlp else None
        scale = getattr(scale, "gamma", scale)
        return scale if isinstance(scale, Tensor) else 1.0


class NoBranch(nn.Identity):
    """Stands for a module that only added an attention branch to its input."""


class Zeros(nn.Module):
    """Gives zeros."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Map ``[batch, tokens, channels]`` to zeros of the same shape."""
        return zeros(x)


class NoAttention(Zeros):
    """Stands for attention within a block that goes on as before."""


class NoSizedAttention(NoAttention):
    """Stands for attention that returns the size of the feature map too (MViT)."""

    def forward(  # type: ignore[override]  # As in timm.
        self, x: Tensor, size: list[int]
    ) -> tuple[Tensor, list[int]]:
        """Map ``[batch, tokens, channels]`` to zeros of the same shape; the size stays."""
        return zeros(x), size
