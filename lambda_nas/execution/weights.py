"""Saves the weights of trials on the driver's disk, wherever in a cluster a trial runs."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ray
import safetensors.torch
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors import SafetensorError
from torch import nn

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.weights import StudyWeights


@dataclass(frozen=True)
class WeightsWriter:
    """Writes the weights of a study's trials.

    Attributes:
        weights: The study's folder, on the driver's machine.
        node: Ray's id of that machine.
    """

    weights: StudyWeights
    node: str

    def save(self, model: nn.Module, trial: int, architecture: Architecture) -> None:
        """Write a trial's weights atomically, labeled with what they are.

        Raises:
            OSError: If the driver's disk is full or can't be written.
        """
        path = self.weights.file(trial)
        label = self.weights.label(trial, architecture)
        if ray.get_runtime_context().get_node_id() == self.node:
            scratch = _scratch(path)
            _save_model(model, scratch, label)
            _publish(scratch, path)
            return
        here = NodeAffinitySchedulingStrategy(self.node, soft=False)
        there = _write.options(scheduling_strategy=here)
        try:
            ray.get(there.remote(_to_bytes(model, label), path))
        except RayTaskError as error:
            # Ray's own message is the other process's traceback.
            raise error.cause from None


@ray.remote(num_cpus=0)
def _write(content: bytes, path: Path) -> None:
    scratch = _scratch(path)
    scratch.write_bytes(content)
    _publish(scratch, path)


def _scratch(path: Path) -> Path:
    """Return a path to write to first; process ids are unique on the driver's machine only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_suffix(f".{os.getpid()}.tmp")


def _publish(scratch: Path, path: Path) -> None:
    # safetensors makes files for the owner only; the folder says who else may read.
    scratch.chmod(stat.S_IMODE(path.parent.stat().st_mode) & 0o666)
    scratch.replace(path)


def _to_bytes(model: nn.Module, label: dict[str, str]) -> bytes:
    # Only the function that writes a file can handle shared tensors.
    with tempfile.TemporaryDirectory(prefix="lambda-nas-") as folder:
        path = Path(folder) / "weights"
        _save_model(model, path, label)
        return path.read_bytes()


def _save_model(model: nn.Module, path: Path, label: dict[str, str]) -> None:
    try:
        safetensors.torch.save_model(model, str(path), metadata=label)
    except SafetensorError as error:
        # A full disk, for example, is not an ``OSError`` there.
        raise OSError(f"{path.parent}: {error}") from error
