"""The state of a training between two steps, so that a killed one goes on as if nothing was."""

import random
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from lambda_nas.training.augmentation import EndlessOrder

Checkpoint = dict[str, Any]
"""Tensors and plain values only: ``torch.load`` reads it with ``weights_only=True``."""


class CheckpointStore(Protocol):
    """Where snapshots are kept."""

    every: int
    """Steps from one snapshot to the next."""

    def load(self) -> Checkpoint | None:
        """Return the last snapshot of this very training, if there is one."""

    def save(self, snapshot: Checkpoint) -> None:
        """Keep a snapshot in place of the last one; its tensors change after the call."""


@dataclass(frozen=True, eq=False)
class TrainState:
    """Everything that changes from step to step, besides the randomness.

    The learning rate is not there: it follows from the step.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: ModelEmaV3 | None
    order: EndlessOrder
    device: torch.device

    def take(self, step: int) -> Checkpoint:
        """Return the state after so many steps."""
        # Its array of words would not load with `weights_only=True`.
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

    def restore(self, snapshot: Checkpoint) -> int:
        """Go back to a snapshot, the global random generators included; return its step."""
        self.model.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scaler.load_state_dict(snapshot["scaler"])
        if self.average:
            self.average.load_state_dict(snapshot["average"])
        self.order.waiting = snapshot["waiting"]
        torch.set_rng_state(snapshot["torch"])
        if self._on_cuda:
            torch.cuda.set_rng_state(snapshot["cuda"], self.device)
        random.setstate(snapshot["python"])
        np.random.set_state(snapshot["numpy"])
        return int(snapshot["step"])

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"
