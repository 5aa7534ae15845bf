"""``--img-size``, and the size that commands say they use."""

import json

import pytest
import timm
import torch
from timm.data import create_dataset, create_transform
from timm.models import save_for_hf
from torchvision.transforms.functional import to_pil_image

ARGS = {
    **{"img_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
    **{"num_classes": 2, "dynamic_img_size": True},
}


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for index in range(24):
        path = tmp_path / "images" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(torch.rand(3, 64, 64, generator=generator)).save(path)
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **ARGS).eval()
    # Else noise images are all of one class.
    torch.nn.init.normal_(model.head.weight)
    save_for_hf(model, "model", model_args=ARGS)
    return model


@torch.no_grad()
def accuracy(model, size):
    transform = create_transform(
        (3, size, size),
        is_training=False,
        interpolation="bicubic",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        crop_pct=0.9,
    )
    images = create_dataset("", root="images", transform=transform)
    right = [int(model(image[None]).argmax()) == label for image, label in images]
    return sum(right) / len(right)


@pytest.mark.parametrize("size", [None, 32])
def test_eval_at_the_models_size_and_another(lambda_nas, model, size):
    flags = ("--trust-classes", *(() if size is None else ("--img-size", size)))
    code, out, err = lambda_nas("eval", "local-dir:model", "--data", "images", "--json", *flags)
    assert code == 0
    assert json.loads(out)["top1"] == pytest.approx(accuracy(model, size or 64))
    assert f"images at {size or 64} x {size or 64}" in err


def test_bench_and_prior_take_it(lambda_nas, model):
    code, out, _ = lambda_nas("bench", "local-dir:model", "--img-size", "32", "--json")
    whole = json.loads(lambda_nas("bench", "local-dir:model", "--json")[1])[0]
    assert code == 0
    assert json.loads(out)[0]["macs"] < whole["macs"] / 3
    code, out, err = lambda_nas(
        "prior", "--model", "local-dir:model", "--data", "images", "--img-size", "32"
    )
    assert (code, "images at 32 x 32" in err) == (0, True)


def test_sizes_that_cant_be(lambda_nas, model):
    code, _, err = lambda_nas("eval", "local-dir:model", "--data", "images", "--img-size", "30")
    assert code == 2
    assert err.startswith("error: --img-size 30: VisionTransformer can't take images of this size")
    code, _, err = lambda_nas("search", "--img-size", "32")
    assert (code, "--img-size 32: give --model and --data with it" in err) == (2, True)
