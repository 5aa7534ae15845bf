"""``--remove`` wherever a network is meant, and ``train`` with and without the compensation."""

import copy
import json
from pathlib import Path
from uuid import uuid4

import pytest
import safetensors.torch
import timm
import torch
from store_fixtures import SETTINGS, claim_and_record, weights_of
from timm.data import create_dataset, create_transform, resolve_input_data_config
from timm.models import save_for_hf
from torchvision.transforms.functional import to_pil_image

from lambda_nas.api.inputs.source import find_source
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import count_params, remove_attention
from lambda_nas.records.run import RunInfo
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.evaluation import evaluate

SIZE = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3}
ARGS = {**SIZE, "num_classes": 3}
BASE = Price(100.0, 1.0, 320.0, 40_000_000, 5_000_000, 1_000_000_000)
FASTER = Price(125.0, 1.25, 256.0, 39_000_000, 4_900_000, 900_000_000)
TRAIN = ("train", "--model", "local-dir:model", "--data", "images", "--epochs", "1", "--lr", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise in three classes; a random network whose outputs are in an order of its own."""
    folder = tmp_path_factory.mktemp("layers")
    random = torch.Generator().manual_seed(0)
    for part, images in (("train", 36), ("val", 24)):
        for index in range(images):
            path = folder / "images" / part / "abc"[index % 3] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_pil_image(torch.rand(3, 40, 32, generator=random)).save(path)
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", **ARGS).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_for_hf(model, str(folder / "model"), model_args=ARGS, safe_serialization=True)
    (folder / "classes.txt").write_text("c\na\nb\n")
    (folder / "others.txt").write_text("b\na\nc\n")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def told(lambda_nas):
    """Return what a command prints as JSON."""

    def call(*args):
        code, out, err = lambda_nas(*args, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture(scope="module")
def model(folder):
    return timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()


@torch.no_grad()
def by_hand(model, images, removed, *, residual=1):
    """Run the blocks of a DeiT, without attention in some, in float64."""
    model = copy.deepcopy(model).double()
    x = model.patch_embed(images.double())
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1) + model.pos_embed
    for index, block in enumerate(model.blocks):
        x = residual * x if index in removed else x + block.attn(block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    return model.head(model.norm(x)[:, 0]).float()


@torch.no_grad()
def top1(network, order):
    """Return the accuracy on all images of val/; ``network`` maps a batch to logits."""
    reference = timm.create_model("deit_tiny_patch16_224", **ARGS)
    transform = create_transform(**resolve_input_data_config(reference), is_training=False)
    images = create_dataset("", root="images/val", transform=transform)
    right = [order[int(network(image[None]).argmax())] == "abc"[label] for image, label in images]
    return sum(right) / len(right)


def test_eval(told, model):
    found = told("eval", "local-dir:model", "--data", "images", "--remove", "2,0")
    assert found["top1"] == top1(lambda images: by_hand(model, images, {0, 2}), "abc")
    assert found["images"] == 24


def test_bench(told, model):
    rows = told("bench", "local-dir:model", "--remove", "0,2", "--remove", "1", "--batch-size", "1")
    assert [row["model"] for row in rows] == [
        *("local-dir:model", "local-dir:model without 0,2", "local-dir:model without 1"),
    ]
    branch = 24 * 72 + 72 + 24 * 24 + 24 + 2 * 24
    whole = count_params(model)
    assert [row["params"] for row in rows] == [whole, whole - 2 * branch, whole - branch]


@pytest.mark.parametrize(("compensation", "residual"), [("paper", 2), ("none", 1)])
def test_train_without_a_step_is_the_formula(told, model, compensation, residual):
    out = f"trained-{compensation}"
    request = ("--remove", "1,2", "--compensation", compensation, "--out", out, "--trust-classes")
    found = told(*TRAIN, *request)
    assert found["removed"] == [1, 2]

    def expected(images):
        return by_hand(model, images, {1, 2}, residual=residual)

    images = torch.randn(5, 3, 32, 32)
    trained = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(trained(images), expected(images), rtol=1e-4, atol=1e-4)
    assert found["accuracy"] == top1(expected, "abc")
    assert found["unpruned_accuracy"] == top1(model, "abc")
    assert found["change"] == pytest.approx(found["accuracy"] - found["unpruned_accuracy"])


def test_train_says_what_came_out(lambda_nas):
    request = ("--remove", "3", "--out", "said", "--trust-classes")
    code, out, _ = lambda_nas(*TRAIN, *request)
    assert code == 0
    assert "{3} removed, top-1 " in out
    assert "% of 24 images after 1 epoch in " in out
    assert "% unpruned, change " in out
    assert " ± " in out


def test_train_questions_a_baseline_of_chance(lambda_nas, folder):
    code, out, err = lambda_nas(*TRAIN, "--remove", "3", "--out", "never")
    assert (code, out) == (2, "")
    assert "which is not clearly better than chance (33%)" in err
    assert "accept the order of classes with --trust-classes" in err
    assert not list(folder.glob("*never*"))


def test_train_at_another_size(told):
    request = ("--img-size", "48", "--remove", "0", "--out", "larger", "--trust-classes")
    told(*TRAIN, *request)
    config = json.loads(Path("larger/config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 48, 48]


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "local-dir:model", "--data", "images"),
        ("bench", "local-dir:model"),
        (*TRAIN, "--out", "never"),
    ],
)
def test_layers_that_are_not_there(lambda_nas, folder, command):
    code, out, err = lambda_nas(*command, "--remove", "1,7")
    assert (code, out) == (2, "")
    assert "error: --remove 7: this attention can't be removed; expected layers among 0, 1" in err
    code, _, err = lambda_nas(*command, "--remove", "1;7")
    assert code == 2
    assert "error: --remove 1;7: not layer indices; expected indices from 0" in err
    assert not list(folder.glob("*never*"))


def begin_study(store, name, folder, class_map=None):
    """Store a study of a model without a trial."""
    source = find_source(model=f"local-dir:{folder}", data="images", class_map=class_map).read(
        Quiet().stage
    )
    config = source.model.config
    info = StudyInfo(
        uuid=uuid4().hex,
        name=name,
        model=source.model.name,
        model_fingerprint=source.model.fingerprint,
        data=source.data_name,
        data_fingerprint=source.data.fingerprint,
        device="a processor",
        layers=(0, 1, 2, 3),
        seed=0,
        baseline_accuracy=evaluate(source.model.model, source.data.evaluation).top1,
        baseline=BASE,
        settings=SETTINGS
        | {
            "architecture": config.architecture,
            "model_args": config.model_args,
            "pretrained_cfg": config.pretrained_cfg,
            "evaluation_images": len(source.data.evaluation),
        },
    )
    store.create_study(info, PriceTable.by_number(info.layers, {0: BASE, 1: FASTER}))


@pytest.fixture(scope="module")
def study(folder, model):
    """A study with a class map and one trial, which removed {1} and did nothing else."""
    removal = RemovalSet.of([1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with SqlStudyStore.open(None) as store:
            begin_study(store, "noise", "model", "classes.txt")
            who = RunInfo("host", 1, "a processor", "m", "d", {}, 0, 1, "lambda-nas search")
            run = store.begin_run("noise", who)
            pruned = remove_attention(model, removal).model
            rung = RungResult(0, top1(pruned, "cab"), 1.0)
            record = TrialRecord(0, Architecture(removal), (rung,), 0.5, run, 1.0)
            claim_and_record(store, "noise", record)
            weights = weights_of(store, "noise")
        weights.folder.mkdir(parents=True)
        label = weights.label(0, record.architecture)
        safetensors.torch.save_file(pruned.state_dict(), weights.file(0), metadata=label)
    return record


def test_an_export_names_its_classes(study, told, model):
    found = told("export", "noise", "--trial", "0", "--out", "of-trial")
    assert (found["accuracy"], found["images"]) == (study.accuracy, 24)
    assert (found["unpruned_accuracy"], found["change"]) == (top1(model, "cab"), None)
    recorded = json.loads(Path("of-trial/config.json").read_text())["pretrained_cfg"]
    assert recorded["label_names"] == ["c", "a", "b"]
    again = told("eval", "local-dir:of-trial", "--data", "images", "--trust-classes")
    assert again["top1"] == study.accuracy


@pytest.mark.usefixtures("study")
def test_layers_of_a_trial_are_exported_with_its_weights(lambda_nas):
    request = ("--remove", "1", "--out", "by-layers", "--data", "nowhere")
    code, out, err = lambda_nas("export", "noise", *request)
    assert code == 0
    assert out.startswith("trial 0: {1} removed, top-1 ")
    said = "trial 0 has lost just these layers: its weights are used; model and images that were"
    assert said in " ".join(err.split())


@pytest.mark.usefixtures("study")
def test_export_repairs_named_layers_and_knows_the_studys_classes(told, model):
    found = told("export", "noise", "--remove", "0,2", "--out", "repaired")
    assert (found["trial"], found["removed"]) == (None, [0, 2])
    assert found["unpruned_accuracy"] == top1(model, "cab")
    assert found["change_stderr"] > 0
    again = told("eval", "local-dir:repaired", "--data", "images", "--trust-classes")
    assert again["top1"] == found["accuracy"]
    card = Path("repaired/README.md").read_text()
    assert "- **Weights:** repaired in closed form\n" in card
    assert " ± " in card


@pytest.mark.usefixtures("study")
def test_export_says_that_the_classes_are_others(lambda_nas, folder):
    request = ("export", "noise", "--remove", "0,2", "--out", "never")
    code, out, err = lambda_nas(*request, "--class-map", "others.txt")
    assert (code, out) == (2, "")
    assert "error: --class-map: noise was searched with other classes: leave it out" in err
    (folder / "other").mkdir()
    (folder / "other" / "train").symlink_to(folder / "images" / "val")
    (folder / "other" / "val").symlink_to(folder / "images" / "train")
    code, _, err = lambda_nas(*request, "--data", "other")
    assert code == 2
    assert "error: other holds other images than noise was searched on" in err
    assert not list(folder.glob("*never*"))


@pytest.mark.usefixtures("study")
def test_train_knows_the_studys_classes(told, model):
    request = ("--trial", "0", "--lr", "0", "--epochs", "1", "--trust-classes")
    found = told("train", "noise", *request, "--out", "trained")
    assert found["unpruned_accuracy"] == top1(model, "cab")
    recorded = json.loads(Path("trained/config.json").read_text())["pretrained_cfg"]
    assert recorded["label_names"] == ["c", "a", "b"]


def test_export_says_that_a_family_has_no_repair(lambda_nas, folder):
    torch.manual_seed(0)
    post_norm = timm.create_model("vit_base_patch16_rpn_224", **ARGS).eval()
    save_for_hf(post_norm, "post-norm", model_args=ARGS, safe_serialization=True)
    with SqlStudyStore.open(None) as store:
        begin_study(store, "no repair", "post-norm")
    code, _, err = lambda_nas("export", "no repair", "--remove", "0,2", "--out", "bare")
    assert code == 0
    said = " ".join(err.split())
    assert "no closed-form repair: the weights stay those of the unpruned model" in said
    assert "- **Weights:** those of the base model\n" in Path("bare/README.md").read_text()
    images = torch.randn(2, 3, 32, 32)
    found = timm.create_model("local-dir:bare", pretrained=True).eval()
    expected = remove_attention(post_norm, RemovalSet.of([0, 2])).model
    with torch.no_grad():
        assert torch.equal(found(images), expected(images))
