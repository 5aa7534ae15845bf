from typing import NamedTuple

import pytest
import timm
import torch
from timm.models import get_model_input_config
from torch import nn
from torchvision.transforms.functional import to_pil_image

from lambda_nas.cost.measurement import Price
from lambda_nas.data.image_folder import load_evaluation
from lambda_nas.exports.card import Results, Timing
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.training.evaluation import Change, evaluate

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3}


class Pair(NamedTuple):
    """A small network, and the same without the attention of blocks 0 and 2."""

    base: nn.Module
    model: nn.Module
    config: ModelConfig
    removal: RemovalSet


@pytest.fixture(scope="session")
def make_pair():
    def make(architecture="deit_tiny_patch16_224", removal=(0, 2), **kwargs):
        torch.manual_seed(0)
        base = timm.create_model(architecture, num_classes=7, **{**SMALL, **kwargs}).eval()
        for parameter in base.parameters():
            nn.init.normal_(parameter, std=0.3)
        removal = RemovalSet.of(removal)
        model = remove_attention(base, removal).model if removal else base
        return Pair(base, model, ModelConfig.of(base), removal)

    return make


@pytest.fixture(scope="session")
def pair(make_pair):
    return make_pair()


@pytest.fixture(scope="session")
def merging_pair(make_pair):
    """A pair of 16 patches: enough to merge some, and to attend to what was merged."""
    return make_pair(removal=[2], patch_size=8)


@pytest.fixture(scope="session")
def results():
    return Results(
        study="deit-images",
        trial=3,
        model="local-dir:/home/me/deit_tiny",
        data="images (20 calibration, 30 evaluation)",
        weights="repaired in closed form",
        accuracy=0.784,
        baseline_accuracy=0.772,
        timing=Timing(
            price=Price(51.5, 1.03, 621.4, 99_600_000, 5_570_000, 1_080_000_000),
            baseline=Price(50.0, 1.0, 640.0, 100_200_000, 5_720_000, 1_260_000_000),
            device="a processor",
            batch_size=32,
        ),
        change=Change(0.012, stderr=0.004),
    )


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Noise, in a folder for each of the 7 classes."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for index in range(21):
        folder = root / f"class{index % 7}"
        folder.mkdir(exist_ok=True)
        pixels = torch.randint(0, 256, (3, 40, 40), generator=generator, dtype=torch.uint8)
        to_pil_image(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def top1(images):
    """Return a function that evaluates a network on these images."""

    def measure(model):
        # An exported network says itself what size it takes.
        model.pretrained_cfg["input_size"] = get_model_input_config(model)["input_size"]
        return evaluate(model, load_evaluation(images, model)[0]).top1

    return measure
