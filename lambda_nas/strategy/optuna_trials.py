"""The Optuna side of a study: names of parameters and objectives, owners, and cleaning up."""

from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import Trial, TrialState

from lambda_nas.models.merging import NO_MERGING
from lambda_nas.models.search_space import MERGING, SearchSpace, parameter_name
from lambda_nas.records.trial import ParetoTrial, TrialCounts, TrialRecord

OBJECTIVES = ("accuracy", "throughput (images/s)", "memory (bytes)")
DIRECTIONS: list[Literal["maximize", "minimize"]] = ["maximize", "maximize", "minimize"]
MAX_RETRIES = 2
RUNGS = "rungs"
"""User attribute of an evaluated trial: its accuracies."""


def distributions(search_space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return one boolean parameter a layer, and one for the merging if there is a choice."""
    found: dict[str, BaseDistribution] = {
        parameter_name(layer): CategoricalDistribution([False, True])
        for layer in search_space.layers
    }
    if search_space.mergings:
        found[MERGING] = CategoricalDistribution(
            [str(NO_MERGING), *map(str, search_space.mergings)]
        )
    return found


def objectives(point: ParetoTrial) -> tuple[float, float, float]:
    """Return a finished trial's values in the order of ``OBJECTIVES``."""
    return point.accuracy, point.price.throughput, float(point.price.memory_bytes)


def count_trials(study: optuna.Study) -> TrialCounts:
    """Count the finished trials of a study by state."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return TrialCounts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        stopped=sum(
            trial.state == TrialState.PRUNED and RUNGS in trial.user_attrs for trial in trials
        ),
    )


def show_rungs(trial: Trial, history: TrialRecord) -> None:
    """Give a trial its accuracy at each rung as a user attribute."""
    trial.set_user_attr(RUNGS, [rung.accuracy for rung in history.rungs])


def tell_stopped(study: optuna.Study, trial: Trial, history: TrialRecord) -> None:
    """Tell Optuna of a trial that was stopped early: pruned, with its rungs and the reason."""
    show_rungs(trial, history)
    trial.set_user_attr("reason", history.stopped)
    study.tell(trial, state=TrialState.PRUNED)


def requeue_trial(
    study: optuna.Study,
    storage: BaseStorage,
    number: int,
    search_space: SearchSpace,
    reason: str,
    *,
    counts: bool = True,
) -> None:
    """Fail a trial that was not finished and put its set in the queue again.

    Args:
        study: The study.
        storage: Optuna's, which holds the study.
        number: Of the trial.
        search_space: What may be removed, and how tokens may be merged.
        reason: What ended it.
        counts: Whether it is one of the ``MAX_RETRIES`` that a set has.
    """
    [trial] = [t for t in study.get_trials(deepcopy=False) if t.number == number]
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    storage.set_trial_user_attr(trial_id, "reason", reason)
    study.tell(number, state=TrialState.FAIL)
    retries = int(trial.user_attrs.get("retries", 0)) + counts
    if retries <= MAX_RETRIES and trial.params:
        params = search_space.to_params(search_space.to_architecture(trial.params))
        study.enqueue_trial(params, user_attrs={"retries": retries, "seed": True})


def count_stored(name: str, storage: RDBStorage) -> TrialCounts:
    """Count the trials of a study by its name; none were begun if Optuna doesn't know it."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return TrialCounts(complete=0, pruned=0, failed=0)
    return count_trials(study)
