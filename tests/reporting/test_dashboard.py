"""The note and the plots that a study has in the Optuna dashboard."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace

import optuna
import plotly.graph_objects as go
import pytest
from browser import visit
from commands import heed_signals
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

# Plots are stored in parts; the package has no public function that reads them back.
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from store_fixtures import claim_and_record

from lambda_nas.api.studies import open_dashboard
from lambda_nas.errors import InputError, StorageError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import RungResult, TrialCounts, TrialRecord
from lambda_nas.reporting.dashboard import merge_note, publish, write_note
from lambda_nas.reporting.dashboard_server import open_server
from lambda_nas.reporting.dashboard_sync import DashboardSync, sync_study
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import DIRECTIONS

NOBODY = TrialCounts(0, 0, 0)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def store(url, make_study):
    """A store with the study, which Optuna knows, too."""
    study = make_study()
    store = SqlStudyStore.open(url)
    store.create_study(study.info, study.prices)
    store.save_prior("study", dict(study.prior))
    runs = {run.id: store.begin_run("study", run.info) for run in study.runs}
    for trial in study.trials:
        claim_and_record(store, "study", replace(trial, run=runs[trial.run]))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name="study", storage=store.optuna, directions=DIRECTIONS)
    return store


def told(store):
    """The note, and the number of traces by plot."""
    study = optuna.load_study(study_name="study", storage=store.optuna)
    study_id = store.optuna.get_study_id_from_name(study.study_name)
    attributes = store.optuna.get_study_system_attrs(study_id)
    plots = get_plotly_graph_objects(attributes)
    return get_note(study), {key: len(json.loads(text)["data"]) for key, text in plots.items()}


def test_note_and_plots(store):
    sync_study(store, "study")
    note, plots = told(store)
    assert plots == {
        "pareto-front": 5,
        "removed-layers": 1,
        "prior-of-each-layer": 7,
        "prior-score-and-accuracy": 2,
        "hypervolume": 2,
        "time-spent": 1,
    }
    assert "**`local-dir:some/vit`** on `images`, priced on `a CPU`" in note
    assert "Unpruned: top-1 80.00%, 100.0 images/s, 40.0 MB, 5.00 M parameters" in note
    assert "| 4 | `{0,3}` | 79.00% | 1.20x | 37.0 MB |" in note
    assert f"`lambda-nas report study --out report.html --storage {store.url}`" in note
    assert "resume the search: `lambda-nas search --storage postgresql://me:***@host/x`" in note


def test_the_note_says_which_of_optunas_plots_mislead(make_study):
    note = write_note(make_study(), "sqlite:///x.db")
    before, after = note.split("*Hyperparameter Importance* of throughput and memory")
    assert "*Removed layers on the front* and *Prior*, the first two of our plots, show" in before
    assert "both depend only on how many layers are removed" in " ".join(after.split())


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}") as answer:
        return json.load(answer)


def test_the_dashboard_lists_the_layers_first(store):
    sync_study(store, "study")
    save_plotly_graph_object(
        optuna.load_study(study_name="study", storage=store.optuna),
        go.Figure(),
        graph_object_id="somebody-else-s",
    )
    with open_server(store, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        plots = get(server, "/api/studies/1")["plotly_graph_objects"]
        server.shutdown()
    assert [plot["id"] for plot in plots] == [
        *("removed-layers", "prior-of-each-layer", "pareto-front", "prior-score-and-accuracy"),
        *("hypervolume", "time-spent", "somebody-else-s"),
    ]


@pytest.mark.parametrize(("host", "private"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_who_reaches_the_dashboard_is_told(store, url, host, private, caplog):
    with open_dashboard(url, 0, host=host):
        pass
    told = f"whoever reaches port 0 of {host} can read, change and delete studies"
    assert caplog.messages == ([] if private else [told])


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine(store, host):
    message = rf"^host {host}: can't be used .*; expected a name or IPv4 address of this machine$"
    with pytest.raises(InputError, match=message):
        open_server(store, host, 0)


def test_a_port_that_is_taken(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"^port {port}: can't be used .*: choose another$"):
            open_server(store, "127.0.0.1", port)


def test_a_plot_that_became_smaller_is_whole(store, make_study):
    optuna_study = optuna.load_study(study_name="study", storage=store.optuna)
    many = [
        TrialRecord(number, Architecture.of([0]), (RungResult(0, 0.5, 1.0),), 0.5, 7, 1.0)
        for number in range(200)
    ]
    publish(make_study(many), optuna_study, store.url)
    sync_study(store, "study")
    assert told(store)[1]["pareto-front"] == 5


def test_a_study_that_optuna_does_not_know_is_left_alone(url, make_study):
    store = SqlStudyStore.open(url)
    store.create_study(make_study().info, make_study().prices)
    sync_study(store, "study")
    assert optuna.study.get_all_study_names(store.optuna) == []


def test_what_people_write_stays(store):
    optuna_study = optuna.load_study(study_name="study", storage=store.optuna)
    save_note(optuna_study, "mine")
    sync_study(store, "study")
    first, _ = told(store)
    assert first.endswith("\n\nmine")
    save_note(optuna_study, "above\n\n" + first + "\n\nbelow")
    sync_study(store, "study")
    again, _ = told(store)
    assert again == "above\n\n" + first + "\n\nbelow"


def test_our_part_of_a_note_is_replaced():
    first = merge_note("", r"old \1")
    assert merge_note(first + "mine", r"new \1") == first.replace("old", "new") + "mine"


def test_names_in_a_note_are_no_markdown(make_study):
    note = write_note(make_study(model="a`b``c", data="**x**\n# y"), "sqlite:///x.db")
    assert note.startswith("**``` a`b``c ```** on `**x** # y`, priced on")


class Silent:
    def stage(self, label, total):
        raise NotImplementedError

    def trials(self, counts, front):
        pass

    def tell(self, event):
        pass


def version(store):
    """How often the note was written."""
    study = optuna.load_study(study_name="study", storage=store.optuna)
    study_id = store.optuna.get_study_id_from_name(study.study_name)
    attributes = store.optuna.get_study_system_attrs(study_id)
    return attributes.get("dashboard:note_ver", 0)


def test_a_search_publishes_at_first_and_when_the_front_changed_but_not_all_the_time(store):
    now = [0.0]
    publisher = DashboardSync(Silent(), store, "study", clock=lambda: now[0])
    one, two = [], store.front("study")
    versions = []
    for now[0], front in (
        (0.0, one),
        (1.0, two),
        (29.0, two),
        (31.0, two),
        (90.0, two),
        (91.0, one),
    ):
        publisher.trials(NOBODY, front)
        versions.append(version(store))
    assert versions == [1, 1, 1, 2, 2, 3]


def test_it_publishes_however_the_search_ends(store):
    publisher = DashboardSync(Silent(), store, "study")
    with publisher.at_the_end():
        pass
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"), publisher.at_the_end():
        raise KeyboardInterrupt("Ctrl-C")
    assert version(store) == 2
    with pytest.raises(StorageError, match="gone"), publisher.at_the_end():
        raise StorageError("gone")
    assert version(store) == 2


def test_what_can_not_be_published_ends_no_search(store, caplog):
    publisher = DashboardSync(Silent(), store, "another")
    publisher.trials(NOBODY, [])
    assert "the dashboard is not up to date: study another: there is no such study" in caplog.text
    with pytest.raises(ValueError, match="the cause"), publisher.at_the_end():
        raise ValueError("the cause")


LOOK = """({
    text: document.body.innerText,
    plots: [...document.querySelectorAll('[id^="user-defined-plot"]')]
        .map((box) => [box.id, box.querySelectorAll('.main-svg').length > 0]),
})"""


@pytest.mark.full
def test_in_a_browser(store, url, chromium):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "lambda_nas", "dashboard", "--port", str(port), "--storage", url],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    try:
        assert process.stderr.readline().startswith("Optuna dashboard at")
        page = f"http://127.0.0.1:{port}/dashboard/studies/1"
        drawn = """document.querySelectorAll('[id^="user-defined-plot"] .main-svg').length >= 6"""
        plots = visit(chromium, page, LOOK, ready=drawn, width=1500)
        written = "document.body.innerText.includes('Next steps')"
        note = visit(chromium, f"{page}/note", LOOK, ready=written)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert plots.problems == note.problems == []
    assert sorted(plots.values[0]["plots"]) == [
        [f"user-defined-plot:{key}", True]
        for key in (
            "hypervolume",
            "pareto-front",
            "prior-of-each-layer",
            "prior-score-and-accuracy",
            "removed-layers",
            "time-spent",
        )
    ]
    for shown in ("Front of study", "Spearman's rank correlation -1.00 over 4 completed trials"):
        assert shown in plots.values[0]["text"]
    text = note.values[0]["text"]
    assert "lambda-nas export study --max-drop 1 --out exported" in text
    assert "{0,3}" in text
    # What marks our part is not shown.
    assert "lambda-nas begins" not in text
