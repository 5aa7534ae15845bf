"""What a worker tells of exceptions that a model's own code raises, in real Ray workers."""

import copy
import os
import sys
from dataclasses import replace

import pytest
from ray import cloudpickle
from silent import Silent
from torch import nn

from lambda_nas.api import session
from lambda_nas.errors import TrialsFailedError
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.searcher import MAX_FAILURES
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.execution.trainable import TOLD_CHARACTERS
from lambda_nas.store.study_store import SqlStudyStore

SETTINGS = Settings(Budget(trials=2), max_removed=3, layers=(0, 1, 2, 3), batch_size=8)
# Workers can't import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OddError(Exception):
    pass


class Raises:
    """A hook of a model that raises in the first forward passes of a worker."""

    def __init__(self, *errors):
        self.errors, self.driver = errors, os.getpid()

    def __call__(self, model, inputs):
        # The model is read anew after it has failed.
        raised = int(os.environ.get("RAISED", "0"))
        if os.getpid() != self.driver and raised < len(self.errors):
            os.environ["RAISED"] = str(raised + 1)
            raise self.errors[raised]


class Unreadable(nn.Module):
    """A part of a model that the driver can copy and pickle, and that no worker can read."""

    def __reduce__(self):
        return read_in, (os.getpid(),)


def read_in(driver):
    if os.getpid() != driver:
        raise LookupError("no such part")
    return Unreadable()


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    with ray_running(SETTINGS, Silent()):
        yield


@pytest.fixture
def search(source, tmp_path):
    """Search and return what was told of failed trials, in order."""

    def search(model):
        progress = Silent()
        changed = replace(source, model=replace(source.model, model=model))
        store = SqlStudyStore.open(f"sqlite:///{tmp_path}/study.db")
        session.search(
            session.Session(changed, SETTINGS, store, "study", tmp_path / "weights"),
            progress=progress,
            command="test",
        )
        return [reason for _, reason in progress.failures]

    return search


@pytest.mark.full
def test_whatever_the_model_raises_is_told_in_a_line_and_its_worker_goes_on(search, source):
    model = copy.deepcopy(source.model.model)
    model.register_forward_pre_hook(
        Raises(
            KeyError("patch"),
            TypeError("got\nan  odd\n\nargument"),
            OddError(),
            RuntimeError("long " * 100),
        )
    )
    *told, long = search(model)
    assert told == ["KeyError: 'patch'", "TypeError: got an odd argument", "OddError"]
    assert long.startswith("RuntimeError: long long ")
    assert long.endswith(" ...")
    assert len(long) <= TOLD_CHARACTERS + len("RuntimeError: ")


@pytest.mark.full
def test_a_model_that_workers_cannot_read_is_told_too(search, source):
    model = copy.deepcopy(source.model.model)
    model.unreadable = Unreadable()
    told = f"^{MAX_FAILURES} trials .* failed because: .*no such part: nothing is lost"
    with pytest.raises(TrialsFailedError, match=told):
        search(model)
