"""The oracle's walks, left alone and stopped in the middle, against each set on its own."""

from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from lambda_nas.data.image_folder import load_images
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.prior import Scorer
from lambda_nas.training.evaluation import evaluate

SETS, BATCHES = 8, 3
"""Three layers; 14 calibration and 14 evaluation images in batches of 6, the last of 2."""


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oracle")
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", num_classes=3, **size)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_for_hf(model, str(folder / "vit"), safe_serialization=True)
    random = np.random.default_rng(0)
    for index in range(28):
        path = folder / "images" / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (18, 18, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def run(folder, benchmark):
    """Return a function that runs the script to its end, or stops it after so many outputs."""
    oracle, tables = benchmark("oracle"), benchmark("oracle_table")

    def run(out, *options, stop_after=None, save_every_s=0.0):
        steps = iter(range(10_000))

        def advance():
            if next(steps) + 1 == stop_after:
                raise StoppedError("in the middle")

        @contextmanager
        def stage(label, total):
            yield (
                advance
                if label in ("Scores", "Plain removal", "Transplant")
                else lambda detail="": None
            )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(oracle, "stage", stage)
            patch.setattr(oracle, "SAVE_EVERY_S", save_every_s)
            arguments = ["--model", f"local-dir:{folder / 'vit'}", "--data", folder / "images"]
            arguments += ["--batch-size", 6, "--out", out, *options]
            oracle.main(list(map(str, arguments)))
        return tables.OracleTable.load(out)

    return run


@pytest.fixture
def alone(run, tmp_path):
    return run(tmp_path / "alone.npz", "--transplant")


def assert_same(found, expected):
    for field in fields(expected):
        if field.name != "about":
            one, other = getattr(found, field.name), getattr(expected, field.name)
            np.testing.assert_array_equal(one, other)
    assert {**found.about, "seconds": 0} == {**expected.about, "seconds": 0}


@pytest.mark.parametrize("save_every_s", [0.0, pytest.param(1e9, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "stops",
    [
        [1],
        [SETS + 3],  # in the second batch of the first walk
        [SETS * BATCHES],  # at its end
        [SETS * BATCHES + 5, SETS + 2],  # twice in the second one
        [2 * SETS * BATCHES + 3],  # in the transplants
    ],
)
def test_a_walk_that_was_stopped_gives_the_same_table(run, alone, tmp_path, stops, save_every_s):
    out = tmp_path / "table.npz"
    for stop_after in stops:
        with pytest.raises(StoppedError, match="in the middle"):
            run(out, "--transplant", stop_after=stop_after, save_every_s=save_every_s)
        assert not out.exists()
    assert_same(run(out, "--transplant"), alone)
    assert not list(tmp_path.glob("*.partial*"))


def test_a_walk_that_is_taken_up_does_only_what_is_left(run, tmp_path):
    out = tmp_path / "table.npz"
    with pytest.raises(StoppedError, match="in the middle"):
        run(out, stop_after=2 * SETS * BATCHES - 2)
    with pytest.raises(StoppedError, match="in the middle"):
        run(out, stop_after=2)
    run(out, stop_after=1)


def test_other_options_do_not_go_on(run, tmp_path):
    out = tmp_path / "table.npz"
    with pytest.raises(StoppedError, match="in the middle"):
        run(out, stop_after=5)
    with pytest.raises(SystemExit, match="begun with other options"):
        run(out, "--evaluation", "7")


def test_without_the_transplant(run, alone, tmp_path):
    table = run(tmp_path / "table.npz")
    assert (table.repairs, alone.repairs) == (("removal",), ("removal", "transplant"))
    np.testing.assert_array_equal(table.removal_hits, alone.removal_hits)


def test_the_table_says_what_each_set_on_its_own_says(folder, alone):
    model = timm.create_model(f"local-dir:{folder / 'vit'}", pretrained=True).eval()
    data = load_images(folder / "images", model)
    cache = ActivationCache(model, data.calibration)
    scorer = Scorer(cache)
    features, logits = cache.head(alone.sets[0])
    for code, removal in enumerate(alone.sets):
        assert alone.relative_entropy[code] == pytest.approx(
            scorer.relative_entropy(removal), abs=1e-4
        )
        assert alone.transfer_entropy[code] == pytest.approx(
            scorer.transfer_entropy(removal), abs=1e-4
        )
        pruned_features, pruned_logits = cache.head(removal)
        error = (pruned_features - features).square().sum(1).mean() / features.var(0).sum()
        assert alone.feature_error[code] == pytest.approx(error.item(), rel=1e-4)
        agreement = (pruned_logits.argmax(1) == logits.argmax(1)).double().mean()
        assert alone.agreement[code] == pytest.approx(agreement.item())
        pruned = remove_attention(model, removal).model
        top1 = evaluate(pruned, data.evaluation).top1
        assert alone.accuracy("removal")[code] == pytest.approx(top1)
        top1 = evaluate(transplant(cache, removal), data.evaluation).top1
        assert alone.accuracy("transplant")[code] == pytest.approx(top1)
