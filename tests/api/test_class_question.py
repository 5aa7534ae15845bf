"""Whether outputs are the classes that they are taken for, asked before a search and in eval."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import network
from PIL import Image
from timm.models import save_for_hf

import lambda_nas
from lambda_nas.api.inputs.class_question import question_classes
from lambda_nas.cli import main
from lambda_nas.data.classes import ClassOrder
from lambda_nas.data.image_folder import load_evaluation
from lambda_nas.errors import InfeasibleError, InputError

NAMES = tuple(str(number) for number in range(1, 13))
SIZE = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of one color a class, 4 in train and 2 in val."""
    root = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    for name in NAMES:
        color = random.integers(40, 215, 3)
        for part, images in (("train", 4), ("val", 2)):
            (root / "images" / part / name).mkdir(parents=True)
            for index in range(images):
                pixels = color + random.integers(-5, 5, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(
                    root / "images" / part / name / f"{index}.png"
                )
    (root / "map.txt").write_text("\n".join(sorted(NAMES)))
    return root


@pytest.fixture(scope="module")
def trained(folder):
    """Fit the head of a random network to the colors, the outputs in torchvision's order."""
    torch.manual_seed(0)
    model = network(len(NAMES), **SIZE).eval()
    images, _, _ = load_evaluation(folder / "images", model, class_map=folder / "map.txt")
    pixels, labels = next(images.batches(len(images)))
    with torch.no_grad():
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
        features = torch.cat([features, torch.ones(len(features), 1)], 1).double()
        targets = torch.nn.functional.one_hot(labels).double()
        solution = torch.linalg.lstsq(features, targets).solution.T.float()
        model.head.weight.copy_(solution[:, :-1])
        model.head.bias.copy_(solution[:, -1])
    return model


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_another_order_that_fits_is_named(trained):
    message = (
        r"^data images: going by timm's natural order \(1, 2, 3, \.\.\.\), the model "
        r"classifies \d of 24 images correctly \(.*%\), which is not clearly better than chance "
        r"\(8\.3%\); by torchvision's order of the alphabet \(1, 10, 11, \.\.\.\), "
        r"100\.0%: if torchvision's order of the alphabet is right, list the names in a "
        r"file and give it with class_map; or accept the order of classes with trust_classes$"
    )
    with pytest.raises(InputError, match=message):
        lambda_nas.evaluate(trained, "images", progress=False)
    with pytest.raises(InputError, match=r"of 48 images correctly .*; by torchvision"):
        lambda_nas.search(trained, "images", budget=1, progress=False)
    assert not Path("studies/weights").exists(), "nothing was searched"


def test_the_right_order_passes(trained):
    found = lambda_nas.evaluate(trained, "images", class_map="map.txt", progress=False)
    assert (found.top1, found.images) == (1.0, 24)
    with pytest.raises(InfeasibleError):
        lambda_nas.search(
            trained, "images", class_map="map.txt", max_params=1, budget=1, progress=False
        )


def test_the_order_is_accepted_on_request(trained):
    found = lambda_nas.evaluate(trained, "images", trust_classes=True, progress=False)
    assert found.top1 < 0.5
    with pytest.raises(InfeasibleError):
        lambda_nas.search(
            trained, "images", trust_classes=True, max_params=1, budget=1, progress=False
        )


def test_a_model_of_chance(folder):
    torch.manual_seed(1)
    model = network(len(NAMES), **SIZE)
    torch.nn.init.zeros_(model.head.weight)
    message = r"not clearly better than chance \(8\.3%\); .*: check model, images and class_map; or"
    with pytest.raises(InputError, match=message):
        lambda_nas.evaluate(model, "images", progress=False)


def test_too_few_images_are_told_and_one_class_is_no_question():
    two = (ClassOrder("used", ("a", "b")),)
    labels = torch.tensor([0, 1, 1])
    assert question_classes(labels, labels, two, "data", trust=False) == (
        "3 images are too few to tell whether the classes are right",
    )
    one = (ClassOrder("used", ("a",)),)
    assert question_classes(labels * 0, labels * 0, one, "data", trust=False) == ()


def test_on_the_command_line(trained, folder, capsys, monkeypatch):
    save_for_hf(
        trained,
        str(folder / "model"),
        model_args={**SIZE, "num_classes": len(NAMES)},
        safe_serialization=True,
    )

    def run(*args):
        monkeypatch.setattr("sys.argv", ["lambda-nas", "eval", "local-dir:model", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code, " ".join(shown.out.split()), " ".join(shown.err.split())

    code, out, err = run("--data", "images")
    assert (code, out) == (2, "")
    assert "by torchvision's order of the alphabet (1, 10, 11, ...), 100.0%" in err
    assert "give it with --class-map; or accept the order of classes with --trust-classes" in err
    code, out, err = run("--data", "images", "--trust-classes")
    assert code == 0
    assert "(24 images)" in out
    code, out, _ = run("--data", "images", "--class-map", "map.txt")
    assert (code, out) == (0, "top-1 100.00% top-5 100.00% (24 images)")
