"""`export` of a small study: what it writes and prints, and what it refuses before any work."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from uuid import uuid4

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import metadata_load
from store_fixtures import SETTINGS, claim_and_record, weights_of

from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.exports.onnx import load_onnx
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}
BASE = Price(100.0, 1.0, 320.0, 40_000_000, 5_000_000, 1_000_000_000)
FASTER = Price(125.0, 1.25, 256.0, 39_000_000, 4_900_000, 900_000_000)
PRICES = PriceTable.by_number((0, 1, 2), {0: BASE, 1: FASTER})
REMOVAL = RemovalSet.of([1])


@pytest.fixture
def pruned(monkeypatch, tmp_path, who):
    """A study in the working directory; the network that its only trial has left."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    base = timm.create_model("deit_tiny_patch16_224", num_classes=5, **SMALL).eval()
    config = ModelConfig.of(base)
    model = remove_attention(base, REMOVAL).model
    info = StudyInfo(
        uuid=uuid4().hex,
        name="vit-images",
        model="local-dir:/home/someone/vit",
        model_fingerprint="m",
        data="/home/someone/images",
        data_fingerprint="d",
        device="AMD EPYC",
        layers=(0, 1, 2),
        seed=0,
        baseline_accuracy=0.8,
        baseline=BASE,
        settings=SETTINGS
        | {
            "architecture": config.architecture,
            "model_args": config.model_args,
            "pretrained_cfg": config.pretrained_cfg,
            "data": "/home/someone/images: 20 calibration, 30 evaluation",
        },
    )
    store = SqlStudyStore.open("sqlite:///studies/lambda_nas.db")
    store.create_study(info, PRICES)
    run = store.begin_run(info.name, who)
    record = TrialRecord(0, Architecture(REMOVAL), (RungResult(0, 0.795, 1.0),), 0.5, run, 1.0)
    claim_and_record(store, info.name, record)
    weights = weights_of(store, info.name)
    weights.folder.mkdir(parents=True)
    label = weights.label(0, record.architecture)
    safetensors.torch.save_file(model.state_dict(), weights.file(0), metadata=label)
    return model


def export(*args):
    command = [sys.executable, "-m", "lambda_nas", "export", "vit-images", "--out", "out", *args]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def refused(lambda_nas):
    def call(*args):
        code, out, err = lambda_nas("export", "vit-images", "--out", "out", *args)
        assert out == ""
        return code, err

    return call


@pytest.mark.full
def test_onnx_says_nothing_but_what_was_written(pruned, tmp_path):
    done = export("--format", "onnx", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "trial 0: {1} removed, top-1 79.50% of 30 images (80.00% unpruned), speed-up 1.25x -> out\n"
        "  python -c 'import onnxruntime; onnxruntime.InferenceSession(\"out/model.onnx\")'\n"
    )
    images = torch.randn(3, 3, 16, 16)
    logits = load_onnx(tmp_path / "out" / "model.onnx")(images)
    assert torch.allclose(logits, pruned(images), atol=1e-4)


def test_pt2_as_json_with_a_card(pruned, tmp_path, lambda_nas):
    command = ("export", "vit-images", "--out", "out", "--format", "pt2", "--json", "--quiet")
    code, out, err = lambda_nas(*command)
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "out": "out",
        "format": "pt2",
        "plain": False,
        "trial": 0,
        "removed": [1],
        "merging": None,
        "accuracy": 0.795,
        "images": 30,
        "unpruned_accuracy": 0.8,
        "change": None,
        "change_stderr": None,
        "speedup": 1.25,
    }
    images = torch.randn(3, 3, 16, 16)
    loaded = torch.export.load(tmp_path / "out" / "model.pt2").module()
    assert torch.allclose(loaded(images), pruned(images), atol=1e-5)
    card = tmp_path / "out" / "README.md"
    assert metadata_load(card)["base_model"] == "timm/deit_tiny_patch16_224.fb_in1k"
    text = card.read_text()
    assert "| top-1 | 80.00% | 79.50% |" in text
    assert "| throughput | 100.0 images/s | 125.0 images/s |" in text
    assert "- **Accuracy measured on:** images (20 calibration, 30 evaluation)\n" in text
    assert "/home/someone" not in text


@pytest.mark.usefixtures("pruned")
def test_a_plain_folder_promises_no_speed_up(tmp_path, lambda_nas):
    code, out, _ = lambda_nas("export", "vit-images", "--out", "out", "--plain")
    assert code == 0
    assert "top-1 79.50% of 30 images (80.00% unpruned), no speed-up (--plain) -> out\n" in out
    assert "import timm; timm.create_model" in out
    _, out, _ = lambda_nas("export", "vit-images", "--out", "again", "--plain", "--json")
    assert (json.loads(out)["plain"], json.loads(out)["speedup"]) == (True, 1.0)
    assert "1.25x" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_plain_goes_with_timm_only(refused, tmp_path, monkeypatch, format):
    monkeypatch.chdir(tmp_path)
    code, error = refused("--format", format, "--plain")
    assert code == 2
    assert error == (
        f"error: --plain: for --format timm only: leave it out, {format} needs nothing of ours "
        "anyway\n"
    )


@pytest.mark.usefixtures("pruned")
def test_onnx_without_its_packages(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert refused("--format", "onnx") == (
        2,
        "error: --format onnx: needs onnx: pip install 'lambda-nas[onnx]'\n",
    )


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize("format", ["timm", "onnx", "pt2"])
def test_a_full_folder_and_missing_weights(refused, tmp_path, format):
    out = tmp_path / "out"
    out.mkdir()
    (out / "note.txt").write_text("mine")
    code, error = refused("--format", format)
    assert code == 2
    assert error == "error: --out out: exists and is not empty: choose another\n"
    assert [path.name for path in out.iterdir()] == ["note.txt"]
    (out / "note.txt").unlink()
    [weights] = tmp_path.glob("studies/lambda_nas.db-weights/vit-images-*/trial-00000.safetensors")
    weights.unlink()
    code, error = refused("--format", format)
    assert code == 2
    assert error.endswith(
        f"error: the weights of trial 0 are not at {weights}: they are on the machine that "
        "searched; if they were moved, give --weights\n"
    )
    assert list(out.iterdir()) == []


@pytest.mark.usefixtures("pruned")
def test_advice_is_in_points_and_flags(refused):
    assert refused("--max-drop", "0.1") == (
        1,
        "error: no trial of vit-images loses at most 0.1 points; the nearest is trial 0 {1} with "
        "0.50: --max-drop 0.5 or --trial 0 selects it\n",
    )
    code, error = refused("--max-drop", "-200")
    assert code == 2
    assert error.startswith("error: --max-drop -200: not a fraction")


@pytest.mark.usefixtures("pruned")
def test_a_trial_that_is_not_on_the_front(refused):
    assert refused("--trial", "7") == (
        2,
        "error: --trial 7: not on the front of vit-images, and weights are kept for its trials "
        "only; expected one of 0\n",
    )


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize(
    "command",
    [("show", "vit-images", "--plot"), ("report", "vit-images", "--out", "report.html", "--png")],
)
def test_figures_are_refused_by_their_flag(lambda_nas, command):
    code, out, err = lambda_nas(*command, "front.gif")
    assert (code, out) == (2, "")
    assert err == f"error: {command[-1]} front.gif: the name must end in .html, .png, .svg\n"


@pytest.mark.usefixtures("pruned")
def test_an_unknown_study_lists_those_there_are(lambda_nas):
    code, _, err = lambda_nas("show", "absent")
    assert code == 2
    assert err == "error: STUDY absent: there is no such study; expected one of vit-images\n"


@pytest.mark.full
@pytest.mark.parametrize("folder", ["it's [/home] $(id) `b`", 'a "q" \\n %s {x} ; !x'])
def test_the_line_to_paste_loads_the_folder_whatever_its_name(pruned, lambda_nas, folder):
    code, out, err = lambda_nas("export", "vit-images", "--out", folder, "--plain", "--quiet")
    assert (code, err) == (0, "")
    line = out.splitlines()[1]
    assert line.startswith("  python -c 'import timm; timm.create_model(")
    done = subprocess.run(["sh", "-c", line.replace("python", sys.executable, 1)], check=False)
    assert done.returncode == 0


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize(
    "command",
    [
        ("studies",),
        ("show", "vit-images"),
        ("report", "vit-images", "--out", "report.html"),
        ("export", "vit-images", "--out", "out"),
        ("train", "vit-images", "--epochs", "1", "--out", "out"),
        ("doctor", "vit-images"),
        ("dashboard",),
    ],
)
def test_each_command_tells_of_a_damaged_database_in_one_line(lambda_nas, command):
    with closing(sqlite3.connect("studies/lambda_nas.db")) as raw, raw:
        raw.execute("UPDATE lambda_prices SET speedup = -1")
    code, out, err = lambda_nas(*command)
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"error: the contents of the study database .* can't be read \(ValueError: "
        r"lambda_prices\.speedup is -1\.0: .*\): restore it from a copy, .*\n",
        err,
    )


@pytest.mark.usefixtures("pruned")
def test_the_weights_of_another_database_are_refused(refused, tmp_path):
    [weights] = tmp_path.glob("studies/lambda_nas.db-weights/vit-images-*/trial-00000.safetensors")
    with safetensors.safe_open(weights, "pt") as file:
        label, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(state, weights, metadata=label | {"study": "f" * 32})
    code, error = refused()
    assert code == 2
    assert error.endswith(f"error: the weights at {weights} belong to another study ({'f' * 32})\n")


@pytest.mark.usefixtures("pruned")
def test_weights_are_found_where_they_were_moved(lambda_nas, tmp_path):
    (tmp_path / "studies" / "lambda_nas.db-weights").rename(tmp_path / "elsewhere")
    command = ("export", "vit-images", "--out", "out")
    assert lambda_nas(*command)[0] == 2
    assert lambda_nas(*command, "--weights", "elsewhere")[0] == 0
    _, out, _ = lambda_nas("doctor", "vit-images", "--weights", "elsewhere")
    assert "weights" not in out
