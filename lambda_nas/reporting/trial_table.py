"""The table of all evaluated trials, as rows."""

from typing import NamedTuple

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.formatting import export_command

STATES = ("front", "completed", "stopped early")


class ReportRow(NamedTuple):
    """One row: an evaluated trial.

    Attributes:
        state: ``front``, ``completed`` or ``stopped early``.
        change: Change in top-1 from the unpruned model, in points.
        score: Score of the prior, in nats.
        seconds: Time of all its rungs.
        command: The command that exports it; only for the front, whose weights are kept.
    """

    state: str
    pareto_trial: ParetoTrial
    change: float
    rungs: int
    score: float
    seconds: float
    command: str | None


def trial_rows(study: StudyRecord, storage: str | None) -> list[ReportRow]:
    """Return the front, fastest last, then the other trials, the most accurate first."""
    front = {point.trial for point in study.front}
    rows = []
    for trial in study.trials:
        point = study.pareto_trial(trial)
        state = "completed" if trial.stopped is None else "stopped early"
        is_front = trial.trial in front
        rows.append(
            ReportRow(
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


def _rank(row: ReportRow) -> tuple[int, float, int]:
    if row.state == "front":
        return 0, row.pareto_trial.price.throughput, row.pareto_trial.trial
    return STATES.index(row.state), -row.pareto_trial.accuracy, row.pareto_trial.trial
