"""What a person does besides searching, from Python: on a tiny network and a few noise images."""

from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_dataset, create_transform, resolve_input_data_config
from torchvision.transforms.functional import to_pil_image

import lambda_nas
from lambda_nas.api.inputs.source import find_source
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.data.image_folder import load_evaluation
from lambda_nas.errors import InputError, LayerIndexError, StudyMismatchError
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import count_params, remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.evaluation import evaluate

TINY = {
    **{"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3},
    "num_classes": 2,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model("deit_tiny_patch16_224", **TINY).train()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    generator = torch.Generator().manual_seed(0)
    for part, images in (("train", 24), ("val", 12)):
        for index in range(images):
            path = folder / "images" / part / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_pil_image(torch.rand(3, 32, 32, generator=generator)).save(path)
    (folder / "classes.txt").write_text("b\na\n")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_evaluate_counts_what_timms_own_dataset_counts(model):
    transform = create_transform(**resolve_input_data_config(model), is_training=False)
    images = create_dataset("", root="images/val", transform=transform)
    network = timm.create_model("deit_tiny_patch16_224", **TINY).eval()
    network.load_state_dict(model.state_dict())
    with torch.inference_mode():
        right = [int(network(image[None]).argmax()) == label for image, label in images]
    found = lambda_nas.evaluate(model, "images", trust_classes=True, progress=False)
    assert (found.top1, found.images) == (sum(right) / len(right), 12)
    assert model.training, "the network given stays as it is"


def test_bench_compares_with_the_first(model):
    smaller = remove_attention(model, RemovalSet.of([0, 1, 2])).model
    whole, pruned = lambda_nas.bench([model, smaller], batch_size=2, progress=False)
    assert whole.speedup == 1.0
    assert (whole.params, pruned.params) == (count_params(model), count_params(smaller))
    assert pruned.macs < whole.macs
    assert pruned.memory_bytes < whole.memory_bytes
    assert model.training


def test_named_layers_are_removed_before_evaluating_and_benching(model):
    removal = RemovalSet.of([0, 2])
    plain = remove_attention(model, removal).model
    expected = evaluate(plain, load_evaluation(Path("images"), model)[0])
    assert lambda_nas.evaluate(model, "images", remove="0,2", progress=False) == expected
    prices = lambda_nas.bench([model], remove=[[2, 0], "1"], batch_size=2, progress=False)
    assert [price.params for price in prices] == [
        count_params(model),
        count_params(plain),
        count_params(remove_attention(model, RemovalSet.of([1])).model),
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: lambda_nas.evaluate(model, "images", remove=[1, 4], progress=False),
        lambda model: lambda_nas.bench([model], remove=["4"], progress=False),
        lambda model: lambda_nas.bench(model, remove=[0, 4], progress=False),
        lambda model: lambda_nas.train(
            None, "out", epochs=1, remove="4", model=model, data="images", progress=False
        ),
    ],
)
def test_layers_that_are_not_there(model, call):
    with pytest.raises(LayerIndexError, match=r"^remove 4: .*expected layers among 0, 1, 2, 3$"):
        call(model)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("one", ["0,2", {2, 0}, ["2,0"], [[0, 2]]])
def test_bench_takes_the_layers_of_one_network_as_others_do(model, one):
    found = lambda_nas.bench(model, remove=one, batch_size=1, progress=False)
    pruned = remove_attention(model, RemovalSet.of([0, 2])).model
    assert [price.params for price in found] == [count_params(model), count_params(pruned)]


@pytest.mark.parametrize("layers", ["x", "", [0.5], [[0], 1], [None], None, [True], ["0", ""]])
def test_bench_refuses_what_is_no_list_of_layers(model, layers):
    with pytest.raises(InputError, match=r"^remove .*: not layer indices; expected indices from 0"):
        lambda_nas.bench([model], remove=layers, progress=False)


def test_bench_says_how_it_measures_what_it_was_given(model, capsys):
    half = timm.create_model("deit_tiny_patch16_224", **TINY).bfloat16()
    lambda_nas.bench([model, torch.compile(half)], batch_size=1)
    said = " ".join(capsys.readouterr().err.split())
    assert "model 2 (OptimizedModule) is measured in single precision and eager mode, not" in said
    assert "as it was given: torch.bfloat16, torch.compile" in said
    assert "model 1" not in said
    with pytest.raises(InputError, match=r"^models: give at least one$"):
        lambda_nas.bench([])


def test_bench_of_what_timm_does_not_know():
    with pytest.raises(InputError, match=r"^model vit_tinny_patch16_224: timm .*: did you mean"):
        lambda_nas.bench(["vit_tinny_patch16_224"], progress=False)


def test_prior_walks_down_the_score(model):
    found = lambda_nas.prior(model, "images", progress=False)
    assert [layer.index for layer in found.layers] == [0, 1, 2, 3]
    first = min(found.layers, key=lambda layer: layer.relative_entropy)
    assert found.path[0].added == first.index
    assert (found.images, found.data) == (24, "images")
    assert found.plot().layout.title.text == "deit_tiny_patch16_224 on images"


@pytest.fixture(scope="module")
def study(model, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return lambda_nas.search(
            *(model, "images"),
            budget=1,
            class_map="classes.txt",
            trust_classes=True,
            progress=False,
        )


@pytest.mark.full
def test_a_study_is_exported_reported_and_trained(study, model):
    [point] = study.front
    exported = lambda_nas.export(study.name, "exported", trial=point.trial, progress=False)
    assert exported.point == point
    network = timm.create_model("local-dir:exported", pretrained=True)
    assert count_params(network) == point.params

    page = lambda_nas.report(study.name, "report.html")
    assert f"<title>{study.name}" in Path(page).read_text(encoding="utf-8")

    trained = lambda_nas.train(
        *(study.name, "trained"),
        epochs=1,
        trial=point.trial,
        model=model,
        trust_classes=True,
        progress=False,
    )
    assert (trained.point, trained.accuracy.images) == (point, 12)
    assert trained.unpruned.top1 == study.baseline.accuracy, "the classes are the study's"
    assert network.pretrained_cfg["label_names"] == ["b", "a"]
    card = Path("trained/README.md").read_text(encoding="utf-8")
    assert f"| {100 * trained.accuracy.top1:.2f}% ({trained.change}) |" in card
    assert "trained for 1 epoch while the attention faded out, without the paper's comp" in card
    again = lambda_nas.evaluate("local-dir:trained", "images", trust_classes=True, progress=False)
    assert again == trained.accuracy


@pytest.mark.full
def test_named_layers_are_exported_repaired(study, model, capsys):
    [point] = study.front
    named = lambda_nas.export(study.name, "of a trial", remove=point.removed, data="nowhere")
    assert named.point == point
    said = " ".join(capsys.readouterr().err.split())
    assert f"trial {point.trial} has lost just these layers: its weights are used; model" in said

    removal = RemovalSet.of({0, 1, 2, 3} - set(point.removed))
    found = lambda_nas.export(
        study.name, "named", remove=removal.layers, model=model, progress=False
    )
    source = find_source(model=model, data="images", class_map="classes.txt").read(Quiet().stage)
    expected = transplant(ActivationCache(source.model.model, source.data.calibration), removal)
    images = torch.randn(2, 3, 32, 32)
    network = timm.create_model("local-dir:named", pretrained=True).eval()
    assert torch.equal(network(images), expected(images))
    assert (found.point, found.removed) == (None, removal.layers)
    accuracy = lambda_nas.evaluate("local-dir:named", "images", trust_classes=True, progress=False)
    assert (found.accuracy, found.images) == (accuracy.top1, accuracy.images)
    assert found.change.top1 == pytest.approx(found.accuracy - study.baseline.accuracy)
    card = Path("named/README.md").read_text(encoding="utf-8")
    assert "- **Weights:** repaired in closed form\n" in card
    assert "- **Chosen:** by hand, not by a search\n" in card


@pytest.mark.full
def test_other_images_are_not_the_studys(study, model, folder):
    (folder / "few").mkdir()
    (folder / "few" / "val").symlink_to(folder / "images" / "train")
    (folder / "few" / "train").symlink_to(folder / "images" / "val")
    layers = {0, 1, 2, 3} - set(study.front[0].removed)
    request = {"remove": layers, "model": model, "data": "few", "progress": False}
    with pytest.raises(StudyMismatchError, match="few holds other images than deit_tiny_patch16_"):
        lambda_nas.export(study.name, "never", **request)
    assert not Path("never").exists()


def test_named_layers_are_trained_without_a_study(model):
    trained = lambda_nas.train(
        *(None, "by name"),
        epochs=1,
        remove=[1, 3],
        compensation="paper",
        model=model,
        data="images",
        trust_classes=True,
        progress=False,
    )
    assert (trained.point, trained.removed) == (None, (1, 3))
    found = lambda_nas.evaluate("local-dir:by name", "images", trust_classes=True, progress=False)
    assert found == trained.accuracy
    network = timm.create_model("local-dir:by name", pretrained=True)
    assert count_params(network) == count_params(
        remove_attention(model, RemovalSet.of([1, 3])).model
    )
    card = Path("by name/README.md").read_text(encoding="utf-8")
    assert f"| top-1 | {100 * trained.unpruned.top1:.2f}% | " in card
    assert "faded out, with the paper's compensation" in card
    assert "throughput" not in card


@pytest.mark.full
def test_a_choice_is_one(study):
    with pytest.raises(InputError, match=r"^give either remove or trial and max_drop$"):
        lambda_nas.export(study.name, "never", remove="1", trial=0, max_drop=0.5)
    with pytest.raises(InputError, match=r"^study: is missing: name one, or give remove with"):
        lambda_nas.train(None, "never", epochs=1, trial=0)
    with pytest.raises(InputError, match=r"^model and images are for remove"):
        lambda_nas.export(study.name, "never", trial=0, data="images")


@pytest.mark.full
def test_training_another_model_is_refused(study):
    other = timm.create_model("deit_tiny_patch16_224", **TINY)
    with pytest.raises(
        StudyMismatchError, match="is not the model that deit_tiny_patch16_224-images was"
    ):
        lambda_nas.train(study.name, "other", epochs=1, max_drop=0.9, model=other, progress=False)
