"""Checkpoints of a training run, from which an interrupted run resumes exactly."""

import random
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from lambda_nas.training.augmentation import EndlessOrder

Checkpoint = dict[str, Any]
"""Holds tensors and plain values only, so that ``torch.load`` reads it with ``weights_only``."""


class CheckpointStore(Protocol):
    """Stores the last checkpoint of one training run."""

    every: int
    """Number of steps between checkpoints."""

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint of this training run, if there is one."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint; training changes the tensors after the call."""


@dataclass(frozen=True, eq=False)
class TrainState:
    """Everything that changes from step to step, except the random generators.

    The learning rate is left out because it follows from the step.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: ModelEmaV3 | None
    order: EndlessOrder
    device: torch.device

    def take(self, step: int) -> Checkpoint:
        """Return a checkpoint of the state after ``step`` steps."""
        # numpy's array of words would not load with `weights_only=True`.
        state: Any = np.random.get_state()
        algorithm, words, *rest = state
        return {
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "waiting": self.order.waiting,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self._on_cuda else None,
            "python": random.getstate(),
            "numpy": (algorithm, words.tolist(), *rest),
        }

    def restore(self, checkpoint: Checkpoint) -> int:
        """Restore a checkpoint and the global random generators, and return its step."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scaler.load_state_dict(checkpoint["scaler"])
        if self.average:
            self.average.load_state_dict(checkpoint["average"])
        self.order.waiting = checkpoint["waiting"]
        torch.set_rng_state(checkpoint["torch"])
        if self._on_cuda:
            torch.cuda.set_rng_state(checkpoint["cuda"], self.device)
        random.setstate(checkpoint["python"])
        np.random.set_state(checkpoint["numpy"])
        return int(checkpoint["step"])

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"
