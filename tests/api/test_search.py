"""A search from Python on a tiny network and a few noise images, with a real Ray worker."""

import re
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest
import timm
import torch
from torchvision.transforms.functional import to_pil_image

import lambda_nas
from lambda_nas.api.plan import plan
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.cli.output import study_json
from lambda_nas.errors import (
    InfeasibleError,
    InputError,
    StorageError,
    StudyMismatchError,
    UnsupportedModelError,
)
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.estimates import STARTING_S
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.removal import RemovalSet
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.space_files import SpaceConfig

TINY = {
    **{"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3},
    "num_classes": 2,
}
NAME = "deit_tiny_patch16_224-images"


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    """What is running already is not started anew by each search."""
    with ray_running(Settings(Budget(trials=0), max_removed=1, layers=(0,)), Quiet()):
        yield


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model("deit_tiny_patch16_224", **TINY).train()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    generator = torch.Generator().manual_seed(0)
    for index in range(24):
        path = folder / "images" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(torch.rand(3, 32, 32, generator=generator)).save(path)
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def searched(folder, model):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return lambda_nas.search(
            model,
            "images",
            budget=3,
            space=SpaceConfig(name="s", max_removed=3, seeds={"a": [0]}),
            trust_classes=True,
        )


@pytest.fixture
def stored(searched):
    return SqlStudyStore.open("sqlite:///studies/lambda_nas.db").load(searched.name)


def test_the_front_is_what_the_store_and_the_command_line_have(searched, stored):
    shown = study_json(lambda_nas.open_study(NAME))
    assert searched.name == NAME
    assert shown["baseline"].items() <= vars(searched.baseline).items()
    assert searched.baseline.speedup == 1
    assert len(searched.front) == len(shown["front"]) > 0
    for point, row in zip(searched.front, shown["front"], strict=True):
        assert {key: getattr(point, key) for key in row} == row | {"removed": point.removed}
        assert list(point.removed) == row["removed"]
    assert any(trial.removal == RemovalSet.of([0]) for trial in stored.trials)


def test_the_model_given_stays_as_it_is(searched, model):
    torch.manual_seed(0)
    same = timm.create_model("deit_tiny_patch16_224", **TINY).state_dict()
    assert model.training
    assert all(torch.equal(value, same[key]) for key, value in model.state_dict().items())


def test_a_model_is_what_its_export_loads_as(searched, tmp_path):
    point = searched.front[-1]
    network = point.model()
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) == point.params
    out = point.export(tmp_path / "exported")
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    plain = timm.create_model(
        f"local-dir:{point.export(tmp_path / 'plain', plain=True)}", pretrained=True
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))
        assert torch.allclose(plain(images), network(images), atol=1e-5)


def test_best_takes_the_fastest_of_the_close_and_the_best_of_the_fast(searched):
    most_accurate = max(searched.front, key=lambda point: point.accuracy)
    assert searched.best(max_drop=0.99) == searched.front[-1]
    assert searched.best(min_speedup=0.1) == most_accurate


def test_what_is_advised_takes_the_nearest(searched, stored):
    accuracies = {point.trial: 0.6 - 0.001234 * point.trial for point in stored.front}
    front = [replace(point, accuracy=accuracies[point.trial]) for point in stored.front]
    info = replace(stored.info, baseline_accuracy=0.7)
    study = lambda_nas.Study(
        replace(stored, info=info, front=tuple(front)), searched.weights, searched.counts
    )
    with pytest.raises(InfeasibleError, match="loses at most 1 point; the nearest") as raised:
        study.best()
    advised = re.search(r"max_drop ([\d.]+) or trial (\d+) selects it", str(raised.value))
    assert study.best(max_drop=float(advised[1])).trial == int(advised[2])


def test_what_the_search_says_of_itself(searched):
    assert searched.ended == "budget spent"
    assert searched.counts.evaluated == 3
    assert lambda_nas.open_study(NAME).ended is None


def test_a_study_shows_itself(searched):
    html = searched._repr_html_()
    assert html.count("<tr>") == 2 + len(searched.front)
    assert f"<caption>{NAME}: " in html
    assert repr(searched) == f"<Study {NAME}: 3 trials, {len(searched.front)} on the front>"
    assert isinstance(searched.plot(), go.Figure)


@pytest.mark.full
def test_the_same_call_goes_on(searched, stored, model, folder):
    resumed = lambda_nas.search(
        model,
        Path("images"),
        budget=4,
        space=SpaceConfig(name="s", max_removed=3),
        weights=folder / "studies" / "lambda_nas.db-weights",
        progress=False,
    )
    after = SqlStudyStore.open("sqlite:///studies/lambda_nas.db").load(NAME)
    assert after.trials[: len(stored.trials)] == stored.trials
    assert len(after.trials) == 4
    assert [point.trial for point in resumed.front] == [point.trial for point in after.front]
    assert lambda_nas.open_study(NAME).front == resumed.front
    assert after.runs[-1].info.command == (
        f"lambda_nas.search(model=model, data='images', budget=4, space=space, study='{NAME}', "
        f"weights='{folder}/studies/lambda_nas.db-weights')"
    )


def test_the_plan_of_a_study_without_trials_left(searched, model):
    planned = plan(model, "images", budget=1, progress=False)
    assert planned.evaluated >= 3
    assert planned.trials == 0
    assert planned.seconds == planned.estimate.first_trial_s == STARTING_S


def test_weights_that_are_gone(searched):
    point = lambda_nas.open_study(NAME, weights="nowhere").front[0]
    with pytest.raises(InputError, match=r"^the weights of trial \d+ are not at .*/nowhere/"):
        point.model()


@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"budget": 0}, InputError, "^budget 0: not a budget; expected a number of trials"),
        ({"budget": "soon"}, InputError, "^budget soon: not a budget; expected"),
        ({"max_memory": "much"}, InputError, "^max_memory much: not a size; expected a size"),
        ({"workers": 0}, InputError, "^workers 0: must be at least 1$"),
        ({"workers": 1000}, InputError, "^workers 1000: too many: each worker"),
        ({"min_speedup": 1, "min_throughput": 1}, InputError, "^give min_throughput or min_speed"),
        ({"data": None}, InputError, "^data is missing: give both model and data, or neither"),
        ({"model": None}, InputError, "^model is missing"),
        ({"data": "nowhere"}, InputError, "^data nowhere: there is no such folder"),
        ({"model": "deit_tinny"}, InputError, "^model deit_tinny: timm has no such model: did"),
        ({"space": "nope"}, InputError, "there is no such search space"),
        ({"storage": "nonsense"}, InputError, "^storage nonsense: not a database URL"),
        (
            {"max_params": 1, "study": "new", "trust_classes": True},
            InfeasibleError,
            "nearest to max_params 1: ",
        ),
    ],
)
def test_wishes_that_cant_be_granted(model, wishes, error, message):
    with pytest.raises(error, match=message):
        lambda_nas.search(**({"model": model, "data": "images", "progress": False} | wishes))


def test_another_model_under_the_same_name(searched):
    other = timm.create_model("deit_tiny_patch16_224", **TINY)
    with pytest.raises(StudyMismatchError, match=r"is about model .*: choose another study$"):
        lambda_nas.search(other, "images", progress=False)


def test_best_wants_one_wish_and_a_fraction(searched):
    with pytest.raises(
        InputError, match=r"^max_drop 1: not a fraction; expected for example 0\.01, which"
    ):
        searched.best(max_drop=1)
    with pytest.raises(InputError, match="give one of trial, max_drop and min_speedup"):
        searched.best(max_drop=0.01, min_speedup=1.1)
    with pytest.raises(InfeasibleError, match="is 50x as fast; the fastest is trial"):
        searched.best(min_speedup=50)


def test_studies_that_are_not_there(searched):
    with pytest.raises(
        InputError, match=f"study nope: there is no such study; expected one of {NAME}"
    ):
        lambda_nas.open_study("nope")
    with pytest.raises(StorageError, match=r"there is no study database elsewhere\.db"):
        lambda_nas.open_study(NAME, storage="sqlite:///elsewhere.db")


def test_models_without_attention_to_remove():
    with pytest.raises(UnsupportedModelError, match="no residual self-attention layer"):
        lambda_nas.search(timm.create_model("resnet18"), "images", progress=False)
