"""A tiny source, and pricing without patience, for the tests of several rooms."""

import pytest
import timm
import torch

import lambda_nas  # noqa: F401  (registers the models)
from lambda_nas.api.inputs.source import Source
from lambda_nas.cost import measurement as cost
from lambda_nas.data.image_folder import ImageData
from lambda_nas.data.image_set import ImageSet
from lambda_nas.pretrained.loading import LoadedModel, ModelConfig, fingerprint


@pytest.fixture(scope="module")
def few_rounds():
    """What is priced here takes milliseconds, and how precisely matters to no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "MAX_ROUNDS", cost.MIN_ROUNDS)
        yield


@pytest.fixture(scope="module")
def source(few_rounds):
    """A digits ViT of 4 blocks with random weights: trials take milliseconds."""
    torch.manual_seed(0)
    model = timm.create_model("digits_vit", depth=4).eval()
    pixels = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(60) % 10, (0.5,), (0.5,))
    part = torch.arange(60).split(20)
    data = ImageData(images.subset(part[0]), images.subset(part[1]), None, "tiny-data", "tiny")
    config = ModelConfig("digits_vit", {"depth": 4}, {})
    return Source(LoadedModel(model, "tiny", config, fingerprint(model, config)), data, "noise")
