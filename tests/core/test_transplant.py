"""Transplant against a plain ridge regression, and on real weights."""

import copy

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.core.data import ImageSet
from lambda_nas.core.evaluation import evaluate
from lambda_nas.core.prefixes import PrefixStates
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import remove_attention
from lambda_nas.core.transplant import transplant


def make(init_values=None) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=16,
        depth=4,
        num_heads=2,
        num_classes=5,
        init_values=init_values,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def images() -> ImageSet:
    pixels = torch.randint(
        0, 256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return ImageSet(pixels, torch.zeros(40, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("init_values", [None, 0.5])
def test_equals_a_plain_weighted_ridge_regression(images, init_values):
    model = make(init_values)
    ridge, weight, layer = 1e-2, 5.0, 2
    repaired = transplant(
        PrefixStates(model, images, batch_size=16),
        RemovalSet.of([layer]),
        ridge=ridge,
        prefix_weight=weight,
    )
    seen = {}
    block = model.blocks[layer]
    block.register_forward_hook(lambda m, args, out: seen.update(x=args[0], y=out))
    ((batch, _),) = images.batches(len(images))
    with torch.no_grad():
        model(batch)
        hidden = block.mlp.act(block.mlp.fc1(block.norm2(seen["x"]))).double().numpy()
    gamma = block.ls2.gamma.detach().double().numpy() if init_values else 1.0
    target = (seen["y"] - seen["x"]).double().numpy() / gamma
    rows = np.tile(np.r_[weight, np.ones(16)], len(images))
    design = np.c_[hidden.reshape(-1, hidden.shape[-1]), np.ones(len(rows))]
    old = np.c_[block.mlp.fc2.weight.detach().double(), block.mlp.fc2.bias.detach().double()].T
    weighted = design * rows[:, None]
    gram = design.T @ weighted
    penalty = np.diag(np.r_[np.full(len(gram) - 1, ridge * np.diag(gram)[:-1].mean()), 0.0])
    expected = np.linalg.solve(
        gram + penalty, weighted.T @ target.reshape(len(rows), -1) + penalty @ old
    )
    np.testing.assert_allclose(
        repaired.blocks[layer].mlp.fc2.weight.detach(), expected[:-1].T, rtol=2e-3, atol=2e-3
    )
    np.testing.assert_allclose(
        repaired.blocks[layer].mlp.fc2.bias.detach(), expected[-1], rtol=2e-3, atol=2e-3
    )


def test_comes_nearer_to_the_unpruned_model_and_leaves_it_alone(images):
    model = make()
    before = copy.deepcopy(model.state_dict())
    removal = RemovalSet.of([0, 2])
    repaired = transplant(PrefixStates(model, images), removal)
    ((batch, _),) = images.batches(len(images))
    with torch.no_grad():
        full, plain = model(batch), remove_attention(model, removal).model(batch)
        error = (repaired(batch) - full).square().mean()
    assert error < 0.5 * (plain - full).square().mean()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_changes_nothing_where_attention_gave_nothing(images):
    model = make()
    for layer in (1, 3):
        torch.nn.init.zeros_(model.blocks[layer].attn.proj.weight)
        torch.nn.init.zeros_(model.blocks[layer].attn.proj.bias)
    removal = RemovalSet.of([1, 3])
    plain = remove_attention(model, removal).model.state_dict()
    repaired = transplant(PrefixStates(model, images), removal).state_dict()
    assert plain.keys() == repaired.keys()
    assert all(torch.equal(plain[key], repaired[key]) for key in plain)


@pytest.mark.real
@pytest.mark.parametrize(("layers", "gain"), [([0, 2, 4], 0.118), ([0, 1, 3, 4, 6], 0.254)])
def test_regains_on_real_weights_what_the_design_reports(deit_tiny, imagenet_halves, layers, gain):
    """The design's gains, with 500 calibration images; here there are 250 and 250 to judge.

    Three points of standard error, so 6 points of slack (0.06) at the lower side.
    """
    calibration, evaluation = imagenet_halves
    removal = RemovalSet.of(layers)
    plain = evaluate(remove_attention(deit_tiny, removal).model, evaluation).top1
    repaired = evaluate(transplant(PrefixStates(deit_tiny, calibration), removal), evaluation).top1
    assert repaired - plain > gain - 0.06
