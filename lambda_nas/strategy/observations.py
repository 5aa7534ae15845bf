"""What the trials of a study say about architectures."""

from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.optuna_trials import RUNGS


class Observations(NamedTuple):
    """The state of a study at one moment.

    Attributes:
        observed: Accuracies of evaluated architectures, in the order of their trials.
        taken: Architectures that are not proposed again: evaluated, failed or running.
        rejected: Architectures that were proposed and rejected before any work.
        running: Architectures whose trial has begun and not ended.
        queued: Number of trials in the queue; they have no parameters yet.
    """

    observed: dict[Architecture, float]
    taken: set[Architecture]
    rejected: set[Architecture]
    running: set[Architecture]
    queued: int


def read_observations(study: optuna.Study, search_space: SearchSpace) -> Observations:
    """Read all trials of a study."""
    trials = study.get_trials(deepcopy=False)
    queued = sum(trial.state == TrialState.WAITING for trial in trials)
    observations = Observations({}, set(), set(), set(), queued)
    for trial in trials:
        if not trial.params:
            continue
        architecture = search_space.to_architecture(trial.params)
        if trial.state == TrialState.COMPLETE:
            observations.observed[architecture] = trial.values[0]
        elif RUNGS in trial.user_attrs:
            observations.observed[architecture] = max(trial.user_attrs[RUNGS])
        elif trial.state == TrialState.PRUNED:
            observations.rejected.add(architecture)
            continue
        elif trial.state == TrialState.RUNNING:
            observations.running.add(architecture)
        observations.taken.add(architecture)
    return observations
