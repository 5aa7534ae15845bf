"""The modules that replace a removed attention branch.

Notation used for tensor shapes: ``[batch, tokens, channels]``; in hierarchical models the tokens
have two dimensions, for example ``[batch, height, width, channels]``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

AFTER_MLP = ("ls2", "gamma_2", "drop_path2", "drop_path")
"""Modules and parameters that a block may apply between its MLP and the residual stream."""

IN_CACHE_BYTES = 1 << 20
"""Size of a block's input in one part; its hidden layer is about four times as large."""


def pass_through(block: nn.Module, parts: Sequence[str], x: Tensor) -> Tensor:
    """Apply a block's scales, which may be bare parameters, and drop paths to ``x``."""
    for name in parts:
        part = getattr(block, name)
        x = part * x if isinstance(part, Tensor) else part(x)
    return x


def zeros(x: Tensor) -> Tensor:
    """Return zeros of the same shape, which take no memory."""
    return x.new_zeros(()).expand(x.shape)


def in_parts(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a function that is independent for each image, on a CPU a few images at a time.

    The wide hidden layer of a whole batch would pass through memory several times; that of a few
    images stays in the CPU's caches (``benchmarks/speed.py``).

    Args:
        run: Maps ``[batch, ...]`` to the same shape.
        x: The input of ``run``.
    """
    # Gradients need the whole hidden layer anyway, and a compiler fuses these passes over memory.
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not x.is_cpu or len(x) < 2:
        return run(x)
    # At least so many that the MLP's weights don't pass through memory more often than the images.
    images = max(IN_CACHE_BYTES, 8 * x.shape[-1] ** 2) * len(x) // x.nbytes
    if images >= len(x):
        return run(x)
    out, images = torch.empty_like(x), max(1, images)
    for part, into in zip(x.split(images), out.split(images), strict=True):
        into.copy_(run(part))
    return out


class AttentionFreeBlock(nn.Module):
    """A block without its attention branch: ``x + mlp(norm2(x))``.

    It shares the children of the original block under the same names, so the pruned model's state
    dict is the unpruned model's without the entries of the removed branch.
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
        """Map ``[batch, tokens, channels]`` to the same shape; ignore attention masks."""
        return in_parts(self.whole, x)

    def whole(self, x: Tensor) -> Tensor:
        """Run all images at once, so that a hook on a child sees the whole batch."""
        return x + pass_through(self, self.after_mlp, self.mlp(self.norm2(x)))

    @property
    def layer_scale(self) -> Tensor | float:
        """The factor on each channel of the MLP's output, ``[channels]`` or 1."""
        scale = getattr(self, self.after_mlp[0], None) if self.after_mlp else None
        scale = getattr(scale, "gamma", scale)
        return scale if isinstance(scale, Tensor) else 1.0


class NoBranch(nn.Identity):
    """Replaces a module that did nothing but add an attention branch to its input."""


class Zeros(nn.Module):
    """Returns zeros."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Map ``[batch, tokens, channels]`` to zeros of the same shape."""
        return zeros(x)


class NoAttention(Zeros):
    """Replaces the attention in a block that otherwise stays as it was."""


class NoSizedAttention(NoAttention):
    """Replaces attention that also returns the size of the feature map (MViT)."""

    def forward(  # type: ignore[override]  # As in timm.
        self, x: Tensor, size: list[int]
    ) -> tuple[Tensor, list[int]]:
        """Map ``[batch, tokens, channels]`` to zeros of the same shape; return the same size."""
        return zeros(x), size
