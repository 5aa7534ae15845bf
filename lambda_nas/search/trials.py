"""The Optuna side of a study: names of parameters and objectives, owners, and cleaning up."""

import os
import socket
from collections.abc import Sequence
from typing import Literal

import optuna
import psutil
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from lambda_nas.core.removal import RemovalSet
from lambda_nas.search.values import FrontPoint, History, TrialCounts

OBJECTIVES = ("accuracy", "throughput (images/s)", "memory (bytes)")
DIRECTIONS: list[Literal["maximize", "minimize"]] = ["maximize", "maximize", "minimize"]
MAX_RETRIES = 2
RUNGS = "rungs"
"""User attribute of an evaluated trial: its accuracies."""


def distributions(layers: Sequence[int]) -> dict[str, BaseDistribution]:
    """Return one boolean parameter a layer."""
    return {parameter_name(layer): CategoricalDistribution([False, True]) for layer in layers}


def parameter_name(layer: int) -> str:
    """Return the name that the dashboard shows for a layer's parameter."""
    return f"remove layer {layer:02d}"


def to_params(removal: RemovalSet, layers: Sequence[int]) -> dict[str, bool]:
    """Write a removal set as parameters."""
    return {parameter_name(layer): layer in removal for layer in layers}


def to_removal(params: dict[str, object], layers: Sequence[int]) -> RemovalSet:
    """Read a removal set from parameters."""
    return RemovalSet.of(layer for layer in layers if params.get(parameter_name(layer)))


def objectives(point: FrontPoint) -> tuple[float, float, float]:
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


def show_rungs(trial: Trial, history: History) -> None:
    """Give a trial its accuracy at each rung as a user attribute."""
    trial.set_user_attr(RUNGS, [rung.accuracy for rung in history.rungs])


def tell_stopped(study: optuna.Study, trial: Trial, history: History) -> None:
    """Tell Optuna of a trial that was stopped early: pruned, with its rungs and the reason."""
    show_rungs(trial, history)
    trial.set_user_attr("reason", history.stopped)
    study.tell(trial, state=TrialState.PRUNED)


def owner() -> dict[str, object]:
    """Name this process so that another can tell whether it is still alive."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def reap(
    study: optuna.Study,
    layers: Sequence[int],
    finished: Sequence[FrontPoint],
    histories: Sequence[History],
) -> None:
    """Settle the trials that a dead driver left running, and put them in the queue again.

    A trial that is in the store was evaluated: only Optuna had not been told yet.
    """
    done = {point.trial: point for point in finished}
    stopped = {history.trial: history for history in histories if history.stopped is not None}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number in done:
            study.tell(trial.number, list(objectives(done[trial.number])))
        elif trial.number in stopped:
            tell_stopped(study, Trial(study, trial._trial_id), stopped[trial.number])
        elif not _owner_alive(trial):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            retries = int(trial.user_attrs.get("retries", 0))
            if retries < MAX_RETRIES:
                removal = to_removal(trial.params, layers)
                study.enqueue_trial(
                    to_params(removal, layers), user_attrs={"retries": retries + 1, "seed": True}
                )


def _owner_alive(trial: FrozenTrial) -> bool:
    who = trial.user_attrs.get("owner")
    if not who:
        return False
    if who["host"] != socket.gethostname():
        # Nothing is known of a process on another machine: leave its trial to it.
        return True
    try:
        return bool(psutil.Process(who["pid"]).create_time() == who["started"])
    except psutil.NoSuchProcess:
        return False


def count_stored(name: str, storage: str) -> TrialCounts:
    """Count the trials of a study by its name; none were begun if Optuna doesn't know it."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return TrialCounts(complete=0, pruned=0, failed=0)
    return count_trials(study)
