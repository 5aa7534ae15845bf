"""What a study is about, and all that is stored of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.records.run import Run
from lambda_nas.records.trial import ParetoTrial, TrialRecord


@dataclass(frozen=True)
class StudyInfo:
    """What a study is about.

    Attributes:
        name: Unique in its database.
        model: As the user named it.
        model_fingerprint: Hash of architecture and weights.
        data: As the user named it.
        data_fingerprint: Hash of the file list, class map and split.
        device: Where prices were measured.
        layers: Layers that may be removed.
        baseline_accuracy: Top-1 of the unpruned model, a fraction.
        baseline: Price of the unpruned model.
        settings: The resolved settings, as JSON values.
    """

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
    """All that is stored of a study.

    Attributes:
        prices: By cost signature.
        prior: As it was saved; ``None`` before it is measured.
        trials: All evaluated trials in order, those that were stopped early too.
        front: Slowest first.
        runs: In order.
    """

    info: StudyInfo
    prices: PriceTable
    prior: Mapping[str, Any] | None
    trials: tuple[TrialRecord, ...]
    front: tuple[ParetoTrial, ...]
    runs: tuple[Run, ...]

    def point(self, trial: TrialRecord) -> ParetoTrial:
        """Return an evaluated trial with its price, as if its weights were gone."""
        best = max(trial.rungs, key=lambda rung: rung.accuracy)
        price = self.prices.of(trial.architecture)
        return ParetoTrial(trial.trial, trial.architecture, best.accuracy, best.rung, price, None)
