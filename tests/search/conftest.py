import pytest
import timm
import torch

import lambda_nas  # noqa: F401  (registers the models)
from lambda_nas.core import cost
from lambda_nas.core.data import ImageSet
from lambda_nas.inputs.images import ImageData
from lambda_nas.inputs.models import LoadedModel, ModelConfig, fingerprint
from lambda_nas.run import Source


@pytest.fixture(scope="session", autouse=True)
def few_rounds():
    """What is priced here takes milliseconds, and how precisely matters to no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "MAX_ROUNDS", cost.MIN_ROUNDS)
        yield


@pytest.fixture(scope="module")
def source():
    """A digits ViT of 4 blocks with random weights: trials take milliseconds."""
    torch.manual_seed(0)
    model = timm.create_model("digits_vit", depth=4).eval()
    pixels = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(60) % 10, (0.5,), (0.5,))
    part = torch.arange(60).split(20)
    data = ImageData(images.subset(part[0]), images.subset(part[1]), None, "tiny-data", "tiny")
    config = ModelConfig("digits_vit", {"depth": 4}, {})
    return Source(LoadedModel(model, "tiny", config, fingerprint(model, config)), data, "noise")
