"""The built-in default from the command line: interrupted, killed, and taken up again."""

import json
import re
import signal
import subprocess
import time

import optuna
import pytest
import timm
from commands import LAMBDA_NAS, run, start
from optuna_dashboard import get_note

from lambda_nas.pretrained.digits import digits_images
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.evaluation import evaluate

pytestmark = pytest.mark.full
STUDY = "digits_vit-digits"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A search that got Ctrl-C after its first trial."""
    folder = tmp_path_factory.mktemp("digits")
    process = start("search", "--budget", "100", folder=folder)
    database = folder / "studies" / "lambda_nas.db"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
        if database.exists():
            store = SqlStudyStore.open(f"sqlite:///{database}")
            if store.has(STUDY) and store.trials(STUDY):
                break
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    return folder, process.returncode, stderr


@pytest.fixture(scope="module")
def resumed(interrupted):
    folder, *_ = interrupted
    before = SqlStudyStore.open(f"sqlite:///{folder}/studies/lambda_nas.db").trial_records(STUDY)
    budget = len(before) + 1
    return (
        before,
        budget,
        json.loads(run("search", "--budget", str(budget), "--json", folder=folder)),
    )


def test_ctrl_c_exits_130_and_says_how_to_go_on(interrupted):
    _, code, stderr = interrupted
    assert code == 130
    assert f"interrupted: study {STUDY} is safe: run the same search again to resume" in stderr
    assert "Traceback" not in stderr


def test_the_dashboards_note_has_the_front_of_an_interrupted_search(interrupted):
    folder, *_ = interrupted
    store = SqlStudyStore.open(f"sqlite:///{folder}/studies/lambda_nas.db")
    note = get_note(optuna.load_study(study_name=STUDY, storage=store.optuna))
    for point in store.front(STUDY):
        assert f"| {point.trial} | `{point.removal}` | {100 * point.accuracy:.2f}% |" in note
    assert "resume the search: `lambda-nas search --budget 100`" in note


def test_the_same_command_takes_it_up(interrupted, resumed):
    folder, *_ = interrupted
    before, budget, shown = resumed
    store = SqlStudyStore.open(f"sqlite:///{folder}/studies/lambda_nas.db")
    after = store.trial_records(STUDY)
    assert len(after) == budget
    assert after[: len(before)] == before
    stopped = sum(history.stopped is not None for history in after)
    assert shown["trials"]["complete"] == len(store.trials(STUDY)) == budget - stopped
    assert shown["trials"]["pruned"] >= stopped
    assert set(shown["trials"]) == {"complete", "pruned", "failed"}


def test_the_last_line_tells_the_pruned_from_the_stopped(interrupted, resumed):
    folder, *_ = interrupted
    counts = resumed[2]["trials"]
    stopped = resumed[1] - counts["complete"]
    assert re.search(
        f"^{counts['complete']} trials? done, {stopped} stopped early, "
        f"{counts['pruned'] - stopped} rejected by the gate, {counts['failed']} failed; "
        r"ended after \d[^:]* s: budget spent$",
        run("search", "--budget", str(resumed[1]), folder=folder),
        re.MULTILINE,
    )


@pytest.mark.usefixtures("resumed")
def test_a_killed_training_goes_on_and_exports_what_it_tells(interrupted, lambda_nas, monkeypatch):
    folder, *_ = interrupted
    command = ("train", STUDY, "--max-drop", "100", "--epochs", "9", "--out", "trained", "--json")
    process = start(*command, folder=folder)
    while process.poll() is None and not list(folder.glob(".trained-*.pt")):
        time.sleep(0.05)
    process.kill()
    _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert re.search(r" Training$", stderr, re.MULTILINE)
    assert not (folder / "trained").exists()
    done = subprocess.run(
        [*LAMBDA_NAS, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "note: resuming at the checkpoint .trained-" in done.stderr
    assert not list(folder.glob(".trained*"))
    told = json.loads(done.stdout)
    model = timm.create_model(f"local-dir:{folder / 'trained'}", pretrained=True)
    assert evaluate(model, digits_images().evaluation).top1 == pytest.approx(
        told["accuracy"], abs=0.002
    )
    assert told["accuracy"] > 0.5
    card = (folder / "trained" / "README.md").read_text()
    assert "- **Weights:** trained for 9 epochs while the attention faded out, " in card
    assert f"| {100 * told['accuracy']:.2f}% (" in card
    attentive = [layer for layer, block in enumerate(model.blocks) if hasattr(block, "attn")]
    assert sorted([*attentive, *told["removed"]]) == list(range(12))
    monkeypatch.chdir(folder)
    code, _, err = lambda_nas(*command)
    assert code == 2
    assert "--out trained: exists and is not empty" in err
