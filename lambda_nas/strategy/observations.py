"""Where a study stands: what its trials say of sets, however they ended."""

from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.optuna_trials import RUNGS


class Observations(NamedTuple):
    """What a study's trials say of sets: measured, not to be proposed, refused, in flight, queued.

    Those in the queue have no parameters yet: they are a number.
    """

    observed: dict[Architecture, float]
    taken: set[Architecture]
    refused: set[Architecture]
    pending: set[Architecture]
    queued: int


def read_observations(study: optuna.Study, search_space: SearchSpace) -> Observations:
    """Read all trials of a study."""
    trials = study.get_trials(deepcopy=False)
    queued = sum(trial.state == TrialState.WAITING for trial in trials)
    standing = Observations({}, set(), set(), set(), queued)
    for trial in trials:
        if not trial.params:
            continue
        one = search_space.to_architecture(trial.params)
        if trial.state == TrialState.COMPLETE:
            standing.observed[one] = trial.values[0]
        elif RUNGS in trial.user_attrs:
            standing.observed[one] = max(trial.user_attrs[RUNGS])
        elif trial.state == TrialState.PRUNED:
            standing.refused.add(one)
            continue
        elif trial.state == TrialState.RUNNING:
            standing.pending.add(one)
        standing.taken.add(one)
    return standing
