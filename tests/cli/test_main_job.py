"""The embedded default from the command line: interrupted, resumed, shown, exported, measured."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import optuna
import pytest
import timm
from optuna_dashboard import get_note
from timm.models import save_for_hf
from torchvision.transforms.functional import to_pil_image

from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.evaluation import evaluate

LAMBDA_NAS = [sys.executable, "-m", "lambda_nas"]
STUDY = "digits_vit-digits"


def call(*args, folder):
    done = subprocess.run([*LAMBDA_NAS, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def inside(interrupted, lambda_nas, monkeypatch):
    """Run a command in the folder of the search, in this process, and return its stdout."""

    def run(*args):
        monkeypatch.chdir(interrupted[0])
        code, out, err = lambda_nas(*args)
        assert code == 0, err
        return out

    return run


def start(*args, folder):
    """Begin a command that Ctrl-C reaches, even if these tests were started in the background."""
    return subprocess.Popen(
        [*LAMBDA_NAS, *args],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has its background jobs ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


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
        json.loads(call("search", "--budget", str(budget), "--json", folder=folder)),
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
    assert "resume the search: `__main__.py search --budget 100`" in note


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


def test_show_and_studies(inside, resumed):
    assert json.loads(inside("show", STUDY, "--json")) == resumed[2]
    (row,) = json.loads(inside("studies", "--json"))
    assert (row["study"], row["complete"]) == (STUDY, resumed[2]["trials"]["complete"])


@pytest.mark.usefixtures("resumed")
def test_a_report_of_a_real_study(interrupted, inside):
    folder, *_ = interrupted
    assert inside("report", STUDY, "--out", "report.html") == ""
    page = (folder / "report.html").read_text()
    for point in SqlStudyStore.open(f"sqlite:///{folder}/studies/lambda_nas.db").front(STUDY):
        command = f"lambda-nas export {STUDY} --trial {point.trial} --out {STUDY}-trial-"
        assert command in page
    assert page.count('<div class="figure"') == 6


def test_limits_that_nothing_keeps_leave_the_study_alone(inside, lambda_nas, resumed):
    assert json.loads(inside("show", STUDY, "--json")) == resumed[2]
    code, out, err = lambda_nas("search", "--budget", "100", "--min-speedup", "50")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"error: no architecture .* nearest to --min-speedup 50: 11 layers removed, .*\n", err
    )
    assert json.loads(inside("show", STUDY, "--json")) == resumed[2]


@pytest.mark.full
def test_the_last_line_tells_the_pruned_from_the_stopped(interrupted, resumed):
    folder, *_ = interrupted
    counts = resumed[2]["trials"]
    stopped = resumed[1] - counts["complete"]
    assert (
        f"{counts['complete']} trials done, {stopped} stopped early, "
        f"{counts['pruned'] - stopped} rejected by the prior, {counts['failed']} failed; "
        "ended: budget spent"
    ) in call("search", "--budget", str(resumed[1]), folder=folder)


@pytest.mark.usefixtures("resumed")
def test_an_export_gives_the_accuracy_of_the_study(interrupted, inside):
    folder, *_ = interrupted
    told = json.loads(inside("export", STUDY, "--max-drop", "20", "--out", "out", "--json"))
    model = timm.create_model(f"local-dir:{folder / 'out'}", pretrained=True)
    assert evaluate(model, digits_images().evaluation).top1 == pytest.approx(
        told["accuracy"], abs=0.002
    )
    names = {key.split(".")[1] for key in model.state_dict() if ".attn." in key}
    assert names == {str(layer) for layer in range(12) if layer not in told["removed"]}


@pytest.mark.usefixtures("resumed")
@pytest.mark.full
def test_a_killed_training_goes_on_and_exports_what_it_tells(interrupted, lambda_nas, monkeypatch):
    folder, *_ = interrupted
    command = ("train", STUDY, "--max-drop", "100", "--epochs", "9", "--out", "trained", "--json")
    process = start(*command, folder=folder)
    while process.poll() is None and not list(folder.glob(".trained-*.pt")):
        time.sleep(0.05)
    process.kill()
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (-signal.SIGKILL, "")
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
    assert "- **Weights:** trained for 9 epochs while the attention faded out\n" in card
    assert f"| {100 * told['accuracy']:.2f}% (" in card
    attentive = [layer for layer, block in enumerate(model.blocks) if hasattr(block, "attn")]
    assert sorted([*attentive, *told["removed"]]) == list(range(12))
    monkeypatch.chdir(folder)
    code, _, err = lambda_nas(*command)
    assert code == 2
    assert "export folder trained exists and is not empty" in err


@pytest.fixture
def pngs(tmp_path):
    """The digits as an image folder with a split, a few of each."""
    digits = digits_images()
    for split, images in (("train", digits.training), ("val", digits.evaluation)):
        for index in range(60):
            folder = tmp_path / split / str(images.labels[index].item())
            folder.mkdir(parents=True, exist_ok=True)
            to_pil_image(images.images[index]).save(folder / f"{index}.png")
    return tmp_path


@pytest.mark.usefixtures("resumed")
def test_training_on_a_folder_of_images(inside, pngs):
    saved = pngs / "digits_vit"
    save_for_hf(digits_model().model, str(saved), safe_serialization=True)
    common = ("train", STUDY, "--max-drop", "100", "--epochs", "2", "--out", pngs / "trained")
    told = json.loads(inside(*common, "--model", f"local-dir:{saved}", "--data", pngs, "--json"))
    assert told["images"] == 60
    assert told["accuracy"] > 0.2
    # Of the unpruned model on these images, the study knows nothing.
    assert "| top-1 | not measured | " in (pngs / "trained" / "README.md").read_text()


@pytest.mark.usefixtures("resumed")
def test_what_can_not_be_trained_on_or_with(interrupted, pngs, lambda_nas, monkeypatch):
    monkeypatch.chdir(interrupted[0])
    saved, other = pngs / "digits_vit", pngs / "other"
    model = digits_model().model
    save_for_hf(model, str(saved), safe_serialization=True)
    model.head.bias.data += 1
    save_for_hf(model, str(other), safe_serialization=True)
    for weights, data, message in (
        (saved, pngs / "val", f"{pngs / 'val'} has no train/ and val/ below it"),
        (other, pngs, f"local-dir:{other} is not the model that {STUDY} was searched on"),
    ):
        code, _, err = lambda_nas(
            *("train", STUDY, "--max-drop", "100", "--epochs", "1"),
            *("--model", f"local-dir:{weights}", "--data", data, "--out", pngs / "trained"),
        )
        assert code == 2
        assert message in err
        assert not list(pngs.glob("*trained*"))


def test_prior_on_stdout_is_json(inside):
    prior = json.loads(inside("prior", "--json", "--score", "transfer-entropy"))
    assert [layer["index"] for layer in prior["layers"]] == list(range(12))
    assert [len(step["removed"]) for step in prior["path"]] == list(range(1, 13))
    assert (prior["score"], prior["target"], prior["order"]) == (
        "transfer-entropy",
        "head",
        "absolute",
    )


@contextmanager
def dashboard(folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start("dashboard", "--port", str(port), folder=folder)
    try:
        yield process.stderr.readline(), f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert (process.returncode, rest) == (130, "")


@pytest.mark.usefixtures("resumed")
@pytest.mark.full
def test_the_dashboard_shows_the_study_in_a_browser(interrupted, chromium, tmp_path):
    folder, *_ = interrupted
    with dashboard(folder) as (said, url):
        assert said == f"Optuna dashboard at {url}/ (Ctrl-C stops it)\n"
        page = subprocess.run(
            [
                *(chromium, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-background-networking", f"--user-data-dir={tmp_path}"),
                *("--virtual-time-budget=20000", "--dump-dom", f"{url}/dashboard/studies/1"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
    assert STUDY in page
    for text in ("throughput (images/s)", "memory (bytes)", "accuracy", "remove layer 03"):
        assert text in page
