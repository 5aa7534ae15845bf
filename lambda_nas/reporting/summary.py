"""The summary of a study: counts, and the trials to choose from."""

from typing import NamedTuple

from lambda_nas.errors import InfeasibleError
from lambda_nas.records.front import hypervolume
from lambda_nas.records.selection import DEFAULT_MAX_DROP, choose, in_points
from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial

FURTHER_DROP = 0.02


class Pick(NamedTuple):
    """A trial of the front and the reason to choose it.

    Attributes:
        change: Change in top-1 from the unpruned model, in points.
    """

    reason: str
    pareto_trial: ParetoTrial
    change: float


class Summary(NamedTuple):
    """The summary of a study.

    Attributes:
        completed: Number of trials that completed all rungs.
        stopped: Number of trials that were stopped early.
        seconds: Time of all runs.
        pick: The default of ``choose``; ``None`` if no trial qualifies.
        why_none: The reason why none qualifies.
        others: One or two alternatives.
    """

    completed: int
    stopped: int
    seconds: float
    hypervolume: float
    pick: Pick | None
    why_none: str
    others: list[Pick]


def summarize(study: StudyRecord) -> Summary:
    """Count the trials and pick from the front."""
    completed = sum(trial.stopped is None for trial in study.trials)
    picks, why_none = _picks(study)
    return Summary(
        completed,
        len(study.trials) - completed,
        sum(run.seconds for run in study.runs),
        hypervolume(study.front, study.info.baseline),
        picks[0],
        why_none,
        _distinct(picks),
    )


def _picks(study: StudyRecord) -> tuple[list[Pick | None], str]:
    """Return the recommended trial and its alternatives, and why none is recommended, if so."""
    within = f"the fastest that loses at most {in_points(DEFAULT_MAX_DROP)} of top-1"
    try:
        first = _pick(study, within, choose(study.info, study.front))
        why_none = ""
    except InfeasibleError as error:
        first, why_none = None, error.problem
    if not study.front:
        return [first], why_none
    best = max(study.front, key=lambda point: point.accuracy)
    return [first, _faster(study, first), _pick(study, "the most accurate", best)], why_none


def _faster(study: StudyRecord, first: Pick | None) -> Pick | None:
    """Return a trial that is faster than the recommended one and loses a bit more accuracy."""
    try:
        further = choose(study.info, study.front, max_drop=FURTHER_DROP)
    except InfeasibleError:
        return None
    if first is None or further != first.pareto_trial:
        return _pick(study, f"the fastest that loses at most {in_points(FURTHER_DROP)}", further)
    faster = [p for p in study.front if p.price.throughput > further.price.throughput]
    if not faster:
        return None
    return _pick(study, "the next faster", min(faster, key=lambda point: point.price.throughput))


def _pick(study: StudyRecord, reason: str, point: ParetoTrial) -> Pick:
    return Pick(reason, point, 100 * (point.accuracy - study.info.baseline_accuracy))


def _distinct(picks: list[Pick | None]) -> list[Pick]:
    """Return the alternatives to the first pick, without duplicates."""
    taken = {picks[0].pareto_trial.trial} if picks[0] else set()
    found = []
    for pick in picks[1:]:
        if pick and pick.pareto_trial.trial not in taken:
            taken.add(pick.pareto_trial.trial)
            found.append(pick)
    return found
