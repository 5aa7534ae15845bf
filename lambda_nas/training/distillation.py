"""The training loss: labels, and distillation from the unpruned model.

Notation used for tensor shapes: ``[batch, tokens, channels]``.
"""

from typing import Self

import torch
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional

from lambda_nas.models.blockwise import blocks, check_blockwise, prefix_tokens
from lambda_nas.scoring.entropy import relative_entropy
from lambda_nas.training.config import Losses


class Objective:
    """Computes the loss of a student on a batch, inside a ``with`` block that hooks the blocks.

    Args:
        student: The model to train; its blocks are compared with the teacher's one by one.
        teacher: The unpruned model in eval mode; needed for distillation losses.
        losses: The weights of the loss terms.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None, losses: Losses) -> None:
        self._student = student
        self._teacher = teacher
        self._losses = losses
        self._on_labels = SoftTargetCrossEntropy()
        self._watched = [model for model in (student, teacher) if model and losses.hidden]

    def __enter__(self) -> Self:
        self._hooks = [
            block.register_forward_hook(self._keep)
            for model in self._watched
            for block in blocks(check_blockwise(model))
        ]
        self._outputs: list[Tensor] = []
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss on ``images`` with class probabilities ``targets [batch, classes]``."""
        logits, hidden = self._run(self._student, images)
        loss = logits.new_zeros(())
        if self._losses.labels:
            loss = loss + self._losses.labels * self._on_labels(logits, targets)
        if self._losses.needs_teacher:
            assert self._teacher is not None
            with torch.no_grad():
                taught_logits, taught = self._run(self._teacher, images)
            if self._losses.logits:
                loss = loss + self._losses.logits * relative_entropy(taught_logits, logits)
            if self._losses.hidden:
                prefix = prefix_tokens(check_blockwise(self._student))
                loss = loss + self._losses.hidden * hidden_distance(taught, hidden, prefix)
        return loss

    def _run(self, model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        self._outputs = []
        logits = model(images).float()
        return logits, self._outputs

    def _keep(self, _module: object, _args: object, output: Tensor) -> None:
        self._outputs.append(output)


def hidden_distance(taught: list[Tensor], hidden: list[Tensor], prefix: int) -> Tensor:
    """Return the mean squared distance between block outputs, each token scaled to unit variance.

    The scaling makes the distance blind to the factor that dilution puts on the residual stream.
    Prefix tokens are few, and the head reads them, so they count as much as all patch tokens
    together.

    Args:
        taught: The teacher's block outputs, one ``[batch, tokens, channels]`` per block.
        hidden: The student's block outputs, in the same shapes.
        prefix: Number of class and register tokens, which come first.
    """
    total = torch.zeros((), device=hidden[0].device)
    for goal, own in zip(taught, hidden, strict=True):
        error = (_normalized(goal) - _normalized(own)).square().mean(-1)
        parts = [part.mean() for part in error.tensor_split([prefix], dim=1) if part.numel()]
        total = total + torch.stack(parts).mean()
    return total / len(hidden)


def _normalized(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens.float(), tokens.shape[-1:])
