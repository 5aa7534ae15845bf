"""A study: its model, data and settings, and everything stored about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import InputError
from lambda_nas.records.run import Run
from lambda_nas.records.trial import ParetoTrial, TrialRecord


@dataclass(frozen=True)
class StudyInfo:
    """The identity and settings of a study.

    Attributes:
        uuid: 32 random hexadecimal digits: no other study has them, in any database.
        name: Name, unique in its database.
        model: The model as the user named it.
        model_fingerprint: Hash of architecture and weights.
        data: The data as the user named it.
        data_fingerprint: Hash of the images' content, their labels and the split.
        device: The device on which prices were measured.
        layers: Layers that may be removed.
        baseline_accuracy: Top-1 of the unpruned model, a fraction.
        baseline: Price of the unpruned model.
        settings: The resolved settings, as JSON values.
    """

    uuid: str
    name: str
    model: str
    model_fingerprint: str
    data: str
    data_fingerprint: str
    device: str
    layers: tuple[int, ...]
    seed: int
    baseline_accuracy: float
    baseline: Price
    settings: dict[str, object]


@dataclass(frozen=True)
class StudyRecord:
    """Everything stored about a study.

    Attributes:
        prices: The price table.
        prior: The prior as JSON values; ``None`` before it is measured.
        trials: All evaluated trials in order, including those stopped early.
        front: The front, slowest first.
        runs: The runs in order.
    """

    info: StudyInfo
    prices: PriceTable
    prior: Mapping[str, Any] | None
    trials: tuple[TrialRecord, ...]
    front: tuple[ParetoTrial, ...]
    runs: tuple[Run, ...]

    def pareto_trial(self, trial: TrialRecord) -> ParetoTrial:
        """Return an evaluated trial with its price."""
        best = max(trial.rungs, key=lambda rung: rung.accuracy)
        price = self.prices.of(trial.architecture)
        return ParetoTrial(trial.trial, trial.architecture, best.accuracy, best.rung, price)


NAME_LENGTH = 255
"""What a database indexes."""


def check_study_name(name: str) -> None:
    """Refuse a name that not every database, terminal and command line takes as it is.

    Raises:
        InputError: If it is empty, too long, or holds something that can't be seen.
    """
    problem = None
    if not name:
        problem = "must not be empty"
    elif name != name.strip():
        problem = "must not begin or end with a space"
    elif not name.isprintable():
        problem = "must not hold line breaks or other characters that can't be seen"
    elif len(name) > NAME_LENGTH:
        problem = f"has {len(name)} characters, and {NAME_LENGTH} are the most"
    if problem:
        raise InputError(
            problem, parameter="study", value=name, advice="give another name with `study`"
        )
