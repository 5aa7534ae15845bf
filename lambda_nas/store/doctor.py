"""Checks the invariants of a study: what must be true after each transaction."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lambda_nas.cost.constraints import layers_removed
from lambda_nas.errors import InputError
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.records.run import Claim
from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import TrialRecord
from lambda_nas.records.weights import StudyWeights, file_name
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.store.weights import check_weights
from lambda_nas.strategy.optuna_trials import objectives

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Findings:
    """The result of a check.

    Attributes:
        problems: One sentence per violated invariant.
        notes: What is no fault, but takes space.
        in_flight: Number of trials that began and have not ended, because a search is running or
            was killed; the next run of a killed search requeues them.
        trials: Number of evaluated trials that were checked.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    in_flight: int
    trials: int


def examine(store: SqlStudyStore, name: str, *, weights_root: Path | None = None) -> Findings:
    """Check a study's invariants.

    - Each trial that is complete in Optuna has all its measurements, and the same values.
    - Each architecture is measured once.
    - Prices agree with the unpruned model's, and no measured cost signature lacks its price.
    - Each claim is of a trial that is running in Optuna, and of no measured architecture.
    - The weights of each member of the front are there, whole, and its own.

    Args:
        store: The study database.
        name: Of the study.
        weights_root: The folder that the search was given for weights, if any.

    Raises:
        InputError: If no study has this name.
        StorageError: If the database fails.
    """
    info = store.study(name)
    weights = StudyWeights.below(weights_root or store.weights_root, name, info.uuid)
    # A search may be running: first the files, which its trials claim before they write them, then
    # everything else in one transaction.
    files = sorted(weights.folder.iterdir()) if weights.folder.is_dir() else []
    with store.transaction(name):
        study, claims = store.load(name), store.claims(name)
        with store.reading_optuna() as storage:
            names, trials = _optuna_trials(storage, name)
    running = sum(trial.state == TrialState.RUNNING for trial in trials.values())
    problems = [
        *_check_trials(study, names, trials),
        *_check_sets(study, claims),
        *_check_prices(study),
        *_check_claims(claims, trials),
        *_check_weights(study, weights),
    ]
    kept = {claim.trial for claim in claims} | {point.trial for point in study.front}
    notes = _unknown_files(files, {file_name(trial) for trial in kept})
    return Findings(tuple(problems), tuple(notes), running, len(study.trials))


def _optuna_trials(
    storage: RDBStorage, name: str
) -> tuple[list[str] | None, dict[int, FrozenTrial]]:
    """Return the names of the objectives, and the trials by number."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None, {}
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if not all(isinstance(value, float) for value in trial.values or ()):
            raise ValueError(f"trial {trial.number} has the values {trial.values}")
    return study.metric_names, {trial.number: trial for trial in trials}


def _check_trials(
    study: StudyRecord, names: list[str] | None, trials: Mapping[int, FrozenTrial]
) -> Iterator[str]:
    stored = {record.trial: record for record in study.trials}
    for number, trial in trials.items():
        if trial.state == TrialState.COMPLETE and number not in stored:
            yield f"trial {number} is complete in Optuna and has no measurements"
    rungs = study.info.settings["rungs"]
    merged = study.prices.merged
    search_space = SearchSpace(study.info.layers, merged.mergings if merged else ())
    for number, record in stored.items():
        yield from _check_rungs(record, rungs)
        expected = TrialState.COMPLETE if record.stopped is None else TrialState.PRUNED
        told = trials.get(number)
        if told is None or told.state != expected:
            state = told.state.name if told else "unknown"
            yield f"trial {number} is measured and {state} in Optuna, not {expected.name}"
            continue
        if search_space.to_architecture(told.params) != record.architecture:
            measured = record.architecture
            yield f"trial {number} measured {measured}, which is not what Optuna asked for"
        if record.stopped is None and record.rungs:
            values = objectives(study.pareto_trial(record), names)
            if not all(map(_close, told.values, values)):
                yield f"trial {number} has {told.values} in Optuna and {list(values)} here"


def _check_rungs(record: TrialRecord, rungs: object) -> Iterator[str]:
    found = [rung.rung for rung in record.rungs]
    if found != list(range(len(found))):
        yield f"trial {record.trial} has measurements at rungs {found}"
    elif record.stopped is None and len(found) != rungs:
        yield f"trial {record.trial} has {len(found)} measurements of {rungs}"


def _check_sets(study: StudyRecord, claims: list[Claim]) -> Iterator[str]:
    measured = Counter(record.architecture for record in study.trials)
    for architecture, times in measured.items():
        if times > 1:
            yield f"{architecture} is measured {times} times"
    for claim in claims:
        if claim.architecture in measured:
            yield f"{claim.architecture} is measured and in flight as trial {claim.trial}"


def _check_prices(study: StudyRecord) -> Iterator[str]:
    unpruned = study.prices.unpruned
    for signature, price in study.prices.by_signature.items():
        if not _close(price.speedup, price.throughput / unpruned.throughput):
            yield f"the price of {layers_removed(signature)} contradicts the unpruned model's"
    measured = {study.prices.signature(record.removal) for record in study.trials}
    for signature in sorted(measured - {*study.prices.by_signature}):
        yield f"{layers_removed(signature)}: measured, and there is no price"


def _check_claims(claims: list[Claim], trials: Mapping[int, FrozenTrial]) -> Iterator[str]:
    for claim in claims:
        told = trials.get(claim.trial)
        if told is None or told.state != TrialState.RUNNING:
            yield f"trial {claim.trial} is in flight and not running in Optuna"


def _check_weights(study: StudyRecord, weights: StudyWeights) -> Iterator[str]:
    for point in study.front:
        try:
            check_weights(weights, point.trial, point.architecture)
        except InputError as error:
            yield error.problem


def _unknown_files(files: Iterable[Path], kept: set[str]) -> Iterator[str]:
    stems = {Path(name).stem for name in kept}
    for path in files:
        # What is being written has the process id in its name as well.
        if path.name.partition(".")[0] not in stems:
            yield f"{path} is not the weights of a trial on the front: it may be deleted"


def _close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=_TOLERANCE)
