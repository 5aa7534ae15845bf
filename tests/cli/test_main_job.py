"""The built-in default from the command line: searched, shown, reported, exported, trained."""

import json
import re
import signal
import socket
import subprocess
from contextlib import contextmanager

import pytest
import timm
from commands import run, start
from timm.models import save_for_hf
from torchvision.transforms.functional import to_pil_image

from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.evaluation import evaluate

pytestmark = pytest.mark.full
STUDY = "digits_vit-digits"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search, and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("digits")
    return folder, json.loads(run("search", "--budget", "2", "--json", folder=folder))


@pytest.fixture
def inside(searched, lambda_nas, monkeypatch):
    """Run a command in the folder of the search, in this process, and return its stdout."""

    def call(*args):
        monkeypatch.chdir(searched[0])
        code, out, err = lambda_nas(*args)
        assert code == 0, err
        return out

    return call


def test_show_and_studies(inside, searched):
    assert json.loads(inside("show", STUDY, "--json")) == searched[1]
    (row,) = json.loads(inside("studies", "--json"))
    assert (row["study"], row["complete"]) == (STUDY, searched[1]["trials"]["complete"])


def test_a_report_of_a_real_study(searched, inside):
    folder, _ = searched
    assert inside("report", STUDY, "--out", "report.html") == ""
    page = (folder / "report.html").read_text()
    for point in SqlStudyStore.open(f"sqlite:///{folder}/studies/lambda_nas.db").front(STUDY):
        command = f"lambda-nas export {STUDY} --trial {point.trial} --out {STUDY}-trial-"
        assert command in page
    assert page.count('<div class="figure"') == 6


def test_limits_that_nothing_keeps_leave_the_study_alone(inside, lambda_nas, searched):
    assert json.loads(inside("show", STUDY, "--json")) == searched[1]
    code, out, err = lambda_nas("search", "--quiet", "--budget", "100", "--min-speedup", "50")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"error: no architecture .* nearest to --min-speedup 50: 11 layers removed, .*\n", err
    )
    assert json.loads(inside("show", STUDY, "--json")) == searched[1]


def test_an_export_gives_the_accuracy_of_the_study(searched, inside):
    folder, _ = searched
    told = json.loads(inside("export", STUDY, "--max-drop", "20", "--out", "out", "--json"))
    model = timm.create_model(f"local-dir:{folder / 'out'}", pretrained=True)
    assert evaluate(model, digits_images().evaluation).top1 == pytest.approx(
        told["accuracy"], abs=0.002
    )
    names = {key.split(".")[1] for key in model.state_dict() if ".attn." in key}
    assert names == {str(layer) for layer in range(12) if layer not in told["removed"]}


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


def test_training_on_a_folder_of_images(inside, pngs):
    saved = pngs / "digits_vit"
    save_for_hf(digits_model().model, str(saved), safe_serialization=True)
    common = ("train", STUDY, "--max-drop", "100", "--epochs", "2", "--out", pngs / "trained")
    told = json.loads(inside(*common, "--model", f"local-dir:{saved}", "--data", pngs, "--json"))
    assert told["images"] == 60
    assert told["accuracy"] > 0.2
    # Of these images, not of the study's.
    unpruned = inside("eval", f"local-dir:{saved}", "--data", pngs, "--json")
    assert told["unpruned_accuracy"] == json.loads(unpruned)["top1"]
    assert told["change"] == pytest.approx(told["accuracy"] - told["unpruned_accuracy"])
    assert 0 < told["change_stderr"] < 0.1


def test_what_can_not_be_trained_on_or_with(searched, pngs, lambda_nas, monkeypatch):
    monkeypatch.chdir(searched[0])
    saved, other = pngs / "digits_vit", pngs / "other"
    model = digits_model().model
    save_for_hf(model, str(saved), safe_serialization=True)
    model.head.bias.data += 1
    save_for_hf(model, str(other), safe_serialization=True)
    for weights, data, message in (
        (saved, pngs / "val", f"--data {pngs / 'val'}: has no train/ and val/ below it"),
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


def test_the_dashboard_shows_the_study_in_a_browser(searched, chromium, tmp_path):
    folder, _ = searched
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
    for text in ("throughput (images/s)", "memory (MB)", "accuracy", "remove layer 03"):
        assert text in page
