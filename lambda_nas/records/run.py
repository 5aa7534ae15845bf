"""Runs, the driver processes that work on a study, and their claims on architectures."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from importlib.metadata import version

from lambda_nas.models.architecture import Architecture

LIBRARIES = ("lambda-nas", "torch", "timm", "optuna", "ray")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect the measurements."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class RunInfo:
    """One driver process on one machine.

    Attributes:
        machine: Host and process namespace, within which ``pid`` is unique.
        versions: Versions of the libraries that affect the measurements.
        command: The command line.
    """

    machine: str
    pid: int
    device: str
    model_fingerprint: str
    data_fingerprint: str
    versions: Mapping[str, str]
    seed: int
    workers: int
    command: str


@dataclass(frozen=True)
class Run:
    """A run as it is stored.

    Attributes:
        heartbeats: A counter that grows while the driver is alive.
        seconds: Run time until the last heartbeat.
        ended: True if the run shut down cleanly, False if it is running or was killed.
        spent: Seconds of each stage before the first trial.
    """

    id: int
    info: RunInfo
    started_at: datetime
    heartbeats: int
    seconds: float
    ended: bool
    spent: Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """An architecture that a run has claimed and is evaluating."""

    architecture: Architecture
    trial: int
    run: Run


@dataclass(frozen=True)
class ClaimCounts:
    """How many architectures are evaluated, and how many are claimed by some run."""

    evaluated: int
    claimed: int


class ClaimResult(Enum):
    """The outcome of claiming an architecture."""

    GRANTED = auto()
    TAKEN = auto()
    """The architecture is evaluated already, or another run has claimed it."""
    SPENT = auto()
    """Evaluated and claimed architectures fill the budget."""
