"""A dry run checks everything, prints the plan, and leaves nothing behind; so does a refusal."""

import json

import pytest
import timm
import torch
from timm.models import save_for_hf
from torchvision.transforms.functional import to_pil_image

TINY = {
    **{"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3},
    "num_classes": 2,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", **TINY)
    model.pretrained_cfg["input_size"] = (3, 32, 32)
    save_for_hf(model, str(folder / "model"), model_args=TINY, safe_serialization=True)
    for split, number in {"train": 10, "val": 6}.items():
        for index in range(number):
            path = folder / "images" / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_pil_image(torch.rand(3, 32, 32)).save(path)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def search(lambda_nas, given, *args):
    model, data = f"local-dir:{given / 'model'}", given / "images"
    return lambda_nas("search", "--dry-run", "--model", model, "--data", data, *args)


def test_the_plan_as_json(lambda_nas, given, tmp_path):
    code, out, _ = search(lambda_nas, given, "--budget", "7", "--workers", "2", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["study"] == "model-images"
    assert plan["images"] == {"calibration": 10, "evaluation": 6, "training": 10}
    assert plan["image_size"] == [32, 32]
    # One or two of four layers.
    assert (plan["max_removed"], plan["architectures"]) == (2, 4 + 6)
    assert (plan["trials"], plan["evaluated"], plan["rungs"], plan["workers"]) == (7, 0, 3, 2)
    four_rounds = plan["first_trial_s"] + 4 * plan["trial_s"]
    assert plan["total_s"] == pytest.approx(four_rounds)
    assert list(tmp_path.iterdir()) == []


def test_the_plan_as_a_table(lambda_nas, given):
    code, out, _ = search(lambda_nas, given, "--budget", "30m")
    assert code == 0
    assert "10 for calibration, 6 to compare trials on, 10 for training" in out
    assert "10 architectures: up to 2 of 4 attention layers removed" in out
    assert "as many as there is time for" in out
    assert "images at 32 x 32" in out


@pytest.mark.parametrize("dry", [True, False])
def test_all_problems_are_told_at_once(lambda_nas, tmp_path, dry):
    (tmp_path / "file").touch()
    code, out, err = lambda_nas(
        "search",
        *(["--dry-run"] if dry else []),
        *("--model", "deit_tinny", "--data", tmp_path / "none", "--space", "nope"),
        *("--workers", "1000", "--storage", f"sqlite:///{tmp_path}/file/study.db"),
    )
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == "error: 5 problems:"
    for line, begin in zip(
        lines[1:],
        [
            "- --workers 1000: too many",
            "- --space nope: there is no such search space",
            "- --model deit_tinny: timm has no such model",
            "- --data ",
            "- --storage: the folder ",
        ],
        strict=True,
    ):
        assert line.startswith(begin)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_place_of_weights_that_cant_be_written(lambda_nas, given, tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "lambda_nas.db-weights").touch()
    code, _, err = search(lambda_nas, given)
    assert code == 2
    assert "lambda_nas.db-weights is not a folder" in err
