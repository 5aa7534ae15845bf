"""Saves the weights of trials on the driver's disk, wherever in a cluster a trial runs."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ray
import safetensors.torch
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors import SafetensorError
from torch import nn


@dataclass(frozen=True)
class WeightsFolder:
    """The folder of a study's weights.

    Attributes:
        path: Path of the folder on the driver's machine.
        node: Ray's id of that machine.
    """

    path: str
    node: str

    def file(self, trial: int) -> Path:
        """Return the path of a trial's weights."""
        return Path(self.path) / f"trial-{trial:05d}.safetensors"

    def save(self, model: nn.Module, trial: int) -> None:
        """Write the weights atomically.

        Raises:
            OSError: If the driver's disk is full or can't be written.
        """
        path = self.file(trial)
        if ray.get_runtime_context().get_node_id() == self.node:
            scratch = _scratch(path)
            _save_model(model, scratch)
            scratch.replace(path)
            return
        here = NodeAffinitySchedulingStrategy(self.node, soft=False)
        there = _write.options(scheduling_strategy=here)
        try:
            ray.get(there.remote(_to_bytes(model), path))
        except RayTaskError as error:
            # Ray's own message is the other process's traceback.
            raise error.cause from None


@ray.remote(num_cpus=0)
def _write(content: bytes, path: Path) -> None:
    scratch = _scratch(path)
    scratch.write_bytes(content)
    scratch.replace(path)


def _scratch(path: Path) -> Path:
    """Return a path to write to first; process ids are unique on the driver's machine only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_suffix(f".{os.getpid()}.tmp")


def _to_bytes(model: nn.Module) -> bytes:
    # Only the function that writes a file can handle shared tensors.
    with tempfile.TemporaryDirectory(prefix="lambda-nas-") as folder:
        path = Path(folder) / "weights"
        _save_model(model, path)
        return path.read_bytes()


def _save_model(model: nn.Module, path: Path) -> None:
    try:
        safetensors.torch.save_model(model, str(path))
    except SafetensorError as error:
        # A full disk, for example, is not an ``OSError`` there.
        raise OSError(f"{path.parent}: {error}") from error
