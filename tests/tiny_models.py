"""Tiny models in which nothing is trivial, and a forward pass written by hand."""

import copy
from functools import cache

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.data.image_set import ImageSet

CLASSES = 5
FAMILIES = {
    "class token": {},
    "average pool": {"class_token": False, "global_pool": "avg"},
    "distilled": {"cls": VisionTransformerDistilled},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "layer scale": {"init_values": 0.5},
    "map pool": {"class_token": False, "global_pool": "map"},
    "rms norm": {"norm_layer": "rmsnorm", "qk_norm": True, "pre_norm": True},
}


def build(*, cls=VisionTransformer, seed=0, **kwargs):
    """Build a model of 4 blocks on 16x16 images; norms and layer scales are random too."""
    torch.manual_seed(seed)
    tiny = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 4, "num_heads": 2}
    model = cls(**{**tiny, "num_classes": CLASSES, **kwargs})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre or 0.5 * name.endswith("gamma"), 0.25)
    return model.eval()


@pytest.fixture
def make_vit():
    return build


@cache
def family(name):
    return build(**FAMILIES[name])


@pytest.fixture(params=FAMILIES)
def vit(request):
    """One model of each family that surgery supports."""
    return copy.deepcopy(family(request.param))


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def forward_by_hand():
    """Return ``run(model, pixels, run_block)`` where ``run_block(index, block, x)``."""

    def run(model, pixels, run_block):
        x = model.norm_pre(model._pos_embed(model.patch_embed(pixels)))
        for index, block in enumerate(model.blocks):
            x = run_block(index, block, x)
        return model.forward_head(model.norm(x))

    return run


@pytest.fixture
def two_classes():
    """Return 48 images that a look at the brightness of one half tells apart."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(48) % 2
    images = torch.randint(0, 100, (48, 3, 16, 16), generator=generator)
    images[labels == 1, :, :8] += 120
    return ImageSet(images.to(torch.uint8), labels, (0.4,) * 3, (0.3,) * 3)


@pytest.fixture
def weights_of():
    """Return a copy of a model's weights, to see later whether they changed."""
    return lambda model: copy.deepcopy(model.state_dict())


@pytest.fixture
def distance():
    """Return the norm of the difference relative to the norm of what is expected."""
    return lambda found, expected: (
        (found.double() - expected.double()).norm() / expected.double().norm()
    ).item()
