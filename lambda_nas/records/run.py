"""Runs: the driver processes that work on a study, and what they have claimed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from lambda_nas.models.architecture import Architecture


@dataclass(frozen=True)
class RunInfo:
    """Who measures: one driver process on one machine.

    Attributes:
        machine: Host and process namespace: where ``pid`` means something.
        versions: Of the libraries that decide what is measured.
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
        beats: Counts up while the driver lives.
        seconds: How long it has lived, as far as it has told.
        ended: Whether it said goodbye; one that was killed did not.
        spent: Seconds by stage of the work before any trial.
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
    """An architecture in the hands of a run."""

    architecture: Architecture
    trial: int
    run: Run


@dataclass(frozen=True)
class ClaimCounts:
    """How many sets are evaluated, and how many are in the hands of some run."""

    evaluated: int
    claimed: int


class ClaimResult(Enum):
    """What becomes of the wish to measure a set."""

    GRANTED = auto()
    TAKEN = auto()
    """It is measured already, or another run is at it."""
    SPENT = auto()
    """What is measured and claimed fills the budget."""
