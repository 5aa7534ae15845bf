"""Each invariant is broken in the database, by hand, and must be told."""

import optuna
import pytest
import safetensors.torch
import torch
from sqlalchemy import text
from store_fixtures import fill, weights_of

from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.store.doctor import examine
from lambda_nas.store.study_store import SqlStudyStore

STUDY = "deit-images"


@pytest.fixture
def study(store, make_info, who, tmp_path, monkeypatch):
    # Below which the weights lie if the database is on a server.
    monkeypatch.chdir(tmp_path)
    fill(store, make_info(), who)
    for point in store.front(STUDY):
        save(weights_of(store, STUDY), point.trial, point.architecture)
    return store


def save(weights, trial, architecture):
    weights.folder.mkdir(parents=True, exist_ok=True)
    tensors = {"head.bias": torch.full((7,), float(trial))}
    label = weights.label(trial, architecture)
    safetensors.torch.save_file(tensors, weights.file(trial), metadata=label)


def test_a_sound_study_is_sound(study):
    findings = examine(study, STUDY)
    assert (findings.problems, findings.notes) == ((), ())
    assert (findings.trials, findings.in_flight) == (3, 1)


def test_the_unit_of_memory_is_in_the_name_of_the_objective(study):
    theirs = optuna.load_study(study_name=STUDY, storage=study.optuna)
    theirs.set_metric_names(["accuracy", "throughput (images/s)", "memory (bytes)"])
    assert examine(study, STUDY).problems[1] == (
        "trial 1 has [0.8, 120.0, 4800.0] in Optuna and [0.8, 120.0, 4800000000.0] here"
    )


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "DELETE FROM lambda_measurements WHERE rung = 1 AND accuracy > 0.79",
            "trial 1 has 1 measurements of 2",
        ),
        (
            "UPDATE lambda_measurements SET accuracy = 0.78 WHERE accuracy > 0.79",
            "trial 1 has [0.8, 120.0, 4800.0] in Optuna and [0.78, 120.0, 4800.0] here",
        ),
        (
            "UPDATE trials SET state = 'FAIL' WHERE number = 1",
            "trial 1 is measured and FAIL in Optuna, not COMPLETE",
        ),
        (
            "UPDATE trials SET state = 'COMPLETE' WHERE number = 3",
            "trial 3 is complete in Optuna and has no measurements",
        ),
        (
            "UPDATE lambda_prices SET speedup = 9 WHERE signature = '2'",
            "the price of 2 layers removed contradicts the unpruned model's",
        ),
        (
            "UPDATE lambda_trials SET architecture = '1,0' WHERE architecture = '0'",
            "{0,1} is measured 2 times",
        ),
        (
            "UPDATE lambda_claims SET architecture = '2'",
            "{2} is measured and in flight as trial 3",
        ),
        (
            "UPDATE trials SET state = 'FAIL' WHERE number = 3",
            "trial 3 is in flight and not running in Optuna",
        ),
    ],
)
def test_each_broken_invariant_is_told(study, url, statement, problem):
    with study._database._engine.begin() as connection:
        connection.execute(text(statement))
    with SqlStudyStore.open(url) as opened:
        assert problem in examine(opened, STUDY).problems


def test_an_unknown_study_lists_those_there_are(study):
    with pytest.raises(
        InputError, match="study other: there is no such study; expected one of deit-images"
    ):
        examine(study, "other")


def test_weights_that_are_missing_damaged_or_swapped_are_told(study, make_info, prices, tmp_path):
    weights = weights_of(study, STUDY)
    [path] = weights.folder.iterdir()
    (point,) = study.front(STUDY)
    whole = path.read_bytes()

    path.write_bytes(whole[:-1])
    [problem] = examine(study, STUDY).problems
    assert problem.startswith(f"the weights at {path} can't be read (")

    save(weights, 0, Architecture.of([0])), weights.file(0).replace(path)
    assert examine(study, STUDY).problems == (
        f"the weights at {path} are those of trial 0, 0, not of trial 1, 0,1",
    )

    with SqlStudyStore.open(f"sqlite:///{tmp_path}/other.db") as other:
        other.create_study(make_info(uuid="f" * 32), prices)
        foreign = weights_of(other, STUDY)
    save(foreign, point.trial, point.architecture)
    foreign.file(point.trial).replace(path)
    assert examine(study, STUDY).problems == (
        f"the weights at {path} belong to another study ({foreign.uuid})",
    )

    path.unlink()
    assert examine(study, STUDY).problems == (f"the weights of trial 1 are not at {path}",)


def test_files_that_no_trial_of_the_front_needs_are_noted(study):
    weights = weights_of(study, STUDY)
    for name in ("trial-00003.safetensors", "trial-00003.4711.tmp", "trial-00000.4711.tmp"):
        # Trial 3 is in flight.
        (weights.folder / name).touch()
    findings = examine(study, STUDY)
    assert findings.problems == ()
    assert findings.notes == (
        f"{weights.folder / 'trial-00000.4711.tmp'} is not the weights of a trial on the front: it "
        "may be deleted",
    )
