"""Whole searches, training too, over models with stages: Swin, and one that is no row of blocks."""

import pytest
import timm
import torch
from silent import Silent
from store_fixtures import weights_of

from lambda_nas.api import session
from lambda_nas.api.inputs.source import Source
from lambda_nas.data.image_folder import ImageData
from lambda_nas.data.image_set import ImageSet
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.exports.front_trial import export_trial
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.surgery import count_params, removable_layers
from lambda_nas.pretrained.loading import LoadedModel, ModelConfig, fingerprint
from lambda_nas.store.doctor import examine
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.config import LambdaSchedule
from lambda_nas.training.evaluation import evaluate

TINY = {"img_size": 16, "patch_size": 2, "window_size": 2, "embed_dim": 16, "num_classes": 3}
STAGES = {"depths": [2, 3], "num_heads": [2, 4]}
MODELS = {
    "swin": ("swin_tiny_patch4_window7_224", {**TINY, **STAGES}),
    # Its norms stand behind attention and MLP.
    "swinv2": ("swinv2_tiny_window8_256", {**TINY, **STAGES}),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.full) for name in ("swin", "swinv2")],
)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def source(family, few_rounds):
    name, args = MODELS[family]
    torch.manual_seed(0)
    model = timm.create_model(name, **args).eval()
    pixels = torch.randint(0, 256, (48, 3, 16, 16), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(48) % 3, (0.5,) * 3, (0.5,) * 3)
    parts = [images.subset(part) for part in torch.arange(48).split(16)]
    config = ModelConfig(name, args, {})
    loaded = LoadedModel(model, family, config, fingerprint(model, config))
    return Source(loaded, ImageData(*parts, "tiny-data", "train: tiny"), "noise")


@pytest.fixture(scope="module")
def searched(source, family, tmp_path_factory):
    folder, progress = tmp_path_factory.mktemp(family), Silent()
    layers = removable_layers(source.model.model)
    settings = Settings(Budget(trials=4), max_removed=3, layers=layers, batch_size=8)
    store = SqlStudyStore.open(f"sqlite:///{folder}/study.db")
    with ray_running(settings, progress):
        session.search(
            session.Session(source, settings, store, family, store.weights_root),
            progress=progress,
            command="test",
        )
    assert progress.failures == []
    return store


def test_prices_go_by_stage(searched, family, source):
    study = searched.load(family)
    assert [len(stage) for stage in study.prices.stages] == [2, 3]
    assert {sum(signature) for signature in study.prices.by_signature} == {0, 1, 2, 3}
    first, second = (stage[0] for stage in study.prices.stages)
    early, late = (study.prices.of(Architecture.of([layer])) for layer in (first, second))
    assert early.params != late.params
    assert early.macs != late.macs
    assert len(study.trials) == 4
    assert examine(searched, family).problems == ()


def test_the_front_is_exported_and_loads(searched, family, source, tmp_path):
    info = searched.study(family)
    for point in searched.front(family):
        out = tmp_path / str(point.trial)
        export_trial(info, point, weights_of(searched, family), out)
        loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        assert count_params(loaded) == point.price.params
        assert evaluate(loaded, source.data.evaluation).top1 == point.accuracy


def test_the_user_is_told_what_is_not_done(source, family):
    rungs = session.rungs_of(source.model.model, trains=True, seed=0)
    if family == "swin":
        assert not any("closed-form" in note for note in source.notes)
        assert {config.lambda_schedule for config in rungs} == {LambdaSchedule(start=0.0)}
    else:
        assert source.notes[-1].startswith(
            "SwinTransformerV2 is not a plain row of blocks: no closed-form"
        )
        # Attention fades in the first slice; in the second one it is gone.
        assert [config.lambda_schedule for config in rungs] == [
            LambdaSchedule(),
            LambdaSchedule(start=0.0),
        ]


def test_trials_say_how_long_each_rung_took(searched, family):
    finished = [trial for trial in searched.trial_records(family) if trial.stopped is None]
    assert finished
    assert all(len(trial.rungs) == 1 + session.RUNGS for trial in finished)
