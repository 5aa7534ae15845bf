"""The rows of the report's tables."""

from typing import NamedTuple

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.formatting import export_command


class TrialRow(NamedTuple):
    """An evaluated trial.

    Attributes:
        state: ``front``, ``evaluated`` or ``stopped``.
        change: Points of top-1 against the unpruned model.
        score: The prior's, in nats.
        seconds: Of all its rungs.
        command: That exports it; only for the front, whose weights are kept.
    """

    state: str
    point: ParetoTrial
    change: float
    rungs: int
    score: float | None
    seconds: float
    command: str | None


def trial_rows(study: StudyRecord, storage: str | None) -> list[TrialRow]:
    """Return the front, fastest last, then the other trials, the most accurate first."""
    front = {point.trial for point in study.front}
    rows = []
    for trial in study.trials:
        point = study.point(trial)
        state = "stopped" if trial.stopped is not None else "evaluated"
        is_front = trial.trial in front
        rows.append(
            TrialRow(
                "front" if is_front else state,
                point,
                100 * (point.accuracy - study.info.baseline_accuracy),
                len(trial.rungs),
                trial.score,
                sum(rung.seconds for rung in trial.rungs),
                export_command(study.info.name, trial.trial, storage) if is_front else None,
            )
        )
    return sorted(rows, key=_rank)


def _rank(row: TrialRow) -> tuple[int, float, int]:
    if row.state == "front":
        return 0, row.point.price.throughput, row.point.trial
    return ("front", "evaluated", "stopped").index(row.state), -row.point.accuracy, row.point.trial
