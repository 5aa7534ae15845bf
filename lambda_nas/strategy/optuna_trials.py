"""The Optuna side of a study: its parameters and objectives, and how trials end there."""

from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState

from lambda_nas.models.merging import NO_MERGING
from lambda_nas.models.search_space import MERGING, SearchSpace, parameter_name
from lambda_nas.records.trial import ParetoTrial, TrialCounts, TrialRecord

OBJECTIVES = ("accuracy", "throughput (images/s)", "memory (MB)")
IN_BYTES = "memory (bytes)"
"""The last objective of studies that were begun when memory was told in bytes."""

DIRECTIONS: list[Literal["maximize", "minimize"]] = ["maximize", "maximize", "minimize"]

MAX_RETRIES = 2
"""How often an architecture whose trial failed is queued again."""

RUNGS = "rungs"
"""User attribute of an evaluated trial: its accuracy at each rung."""

UNGATED = "ungated"
"""User attribute of a queued trial that the prior's gate may not reject."""


GIVEN_BACK = "given back"
"""User attribute of a trial in Optuna's state FAIL that could not end, and is no failure."""


def distributions(search_space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return one boolean parameter per layer, and one for the merging if the space has any."""
    found: dict[str, BaseDistribution] = {
        parameter_name(layer): CategoricalDistribution([False, True])
        for layer in search_space.layers
    }
    if search_space.mergings:
        found[MERGING] = CategoricalDistribution(
            [str(NO_MERGING), *map(str, search_space.mergings)]
        )
    return found


def objectives(
    point: ParetoTrial, names: Sequence[str] | None = OBJECTIVES
) -> tuple[float, float, float]:
    """Return a finished trial's values.

    Args:
        point: The trial.
        names: The study's names of its objectives, which say the unit of memory.
    """
    memory = point.price.memory_bytes / (1 if names and IN_BYTES in names else 1e6)
    return point.accuracy, point.price.throughput, memory


def count_trials(study: optuna.Study) -> TrialCounts:
    """Count the finished trials of a study by state."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return TrialCounts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=sum(
            trial.state == TrialState.FAIL and GIVEN_BACK not in trial.user_attrs
            for trial in trials
        ),
        stopped=sum(
            trial.state == TrialState.PRUNED and RUNGS in trial.user_attrs for trial in trials
        ),
    )


def count_stored(name: str, storage: RDBStorage) -> TrialCounts:
    """Count the finished trials of a study by its name; zero if Optuna does not know it."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return TrialCounts(complete=0, pruned=0, failed=0)
    return count_trials(study)


def set_rungs(trial: Trial, record: TrialRecord) -> None:
    """Attach a trial's accuracy at each rung to it."""
    trial.set_user_attr(RUNGS, [rung.accuracy for rung in record.rungs])


def tell_stopped(study: optuna.Study, trial: Trial, record: TrialRecord) -> None:
    """Tell Optuna that a trial was stopped early: its rungs, the reason, and the state PRUNED."""
    set_rungs(trial, record)
    trial.set_user_attr("reason", record.stopped)
    study.tell(trial, state=TrialState.PRUNED)


def requeue_trial(
    study: optuna.Study,
    storage: RDBStorage,
    number: int,
    search_space: SearchSpace,
    reason: str,
    *,
    failed: bool = True,
) -> None:
    """End an unfinished trial, whoever began it, and queue its architecture again.

    Args:
        study: The study.
        storage: Its storage.
        number: Number of the trial.
        search_space: What may be removed, and how tokens may be merged.
        reason: Why the trial ended.
        failed: Whether it may be to blame; its architecture is then retried ``MAX_RETRIES`` times.
    """
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    storage.set_trial_user_attr(trial_id, "reason", reason)
    if not failed:
        storage.set_trial_user_attr(trial_id, GIVEN_BACK, True)
    trial = storage.get_trial(trial_id)
    study.tell(number, state=TrialState.FAIL)
    retries = int(trial.user_attrs.get("retries", 0)) + failed
    if retries <= MAX_RETRIES and trial.params:
        params = search_space.to_params(search_space.to_architecture(trial.params))
        study.enqueue_trial(params, user_attrs={"retries": retries, UNGATED: True})
