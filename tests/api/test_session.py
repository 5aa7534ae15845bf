"""The stages that a session foretells, for a study that is new and for one that is resumed."""

from dataclasses import replace

import pytest
from silent import Silent
from store_fixtures import PRIOR, SETTINGS

from lambda_nas.api.inputs.config import configure
from lambda_nas.api.session import device_name, open_session
from lambda_nas.execution.progress import (
    EVALUATING_UNPRUNED,
    MEASURING_PRIOR,
    PRICING,
    READING,
    STARTING_RAY,
    StagesPlanned,
)
from lambda_nas.store.study_store import SqlStudyStore


@pytest.fixture
def planned(tmp_path):
    """Open a session of the digits and return the stages that it foretells before it reads."""
    url = f"sqlite:///{tmp_path}/x.db"

    def call():
        progress = Silent()
        with open_session(configure(None, None, {"storage": url}), progress) as opened:
            [event] = progress.events
        assert isinstance(event, StagesPlanned)
        return url, opened, event.stages

    return call


def test_a_study_that_is_resumed_skips_what_it_knows(planned, make_info, prices):
    url, opened, stages = planned()
    assert stages == (READING, PRICING, EVALUATING_UNPRUNED, MEASURING_PRIOR, STARTING_RAY)
    model = opened.source.model
    info = make_info(opened.name, device=device_name("cpu"), settings=SETTINGS)
    known = {"model": model.name, "model_fingerprint": model.fingerprint}
    with SqlStudyStore.open(url) as store:
        store.create_study(replace(info, **known), prices)
        assert planned()[2] == (READING, MEASURING_PRIOR, STARTING_RAY)
        store.save_prior(opened.name, PRIOR)
    assert planned()[2] == (READING, STARTING_RAY)
