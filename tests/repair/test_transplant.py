"""Transplant against one that is written out in full, and on real weights."""

import copy

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.ridge import STRENGTHS
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.evaluation import evaluate


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


def moments(rows, shares):
    mean = np.average(rows, axis=0, weights=shares)
    return mean, np.sqrt(np.average(np.square(rows - mean), axis=0, weights=shares))


def matched(norm, own, wanted, shares):
    """Change a norm as the definition says, from outputs as rows of numpy."""
    (mean, std), (target_mean, target_std) = moments(own, shares), moments(wanted, shares)
    ratio = torch.from_numpy(np.clip(target_std / std, 0.5, 3.0))
    norm.weight.mul_(ratio)
    norm.bias.mul_(ratio).add_(torch.from_numpy(target_mean) - ratio * torch.from_numpy(mean))


def refitted(linear, hidden, lacking, shares, images):
    """Refit by least squares with penalty rows, the strength by leaving images out."""
    design = np.c_[hidden, np.ones(len(hidden))] * np.sqrt(shares)[:, None]
    goal = lacking * np.sqrt(shares)[:, None]
    fold = np.repeat(np.arange(images) % 5, len(hidden) // images)

    def ridge(rows, strength):
        root = np.sqrt(strength * np.square(design[rows, :-1]).sum(0).mean())
        penalty = root * np.eye(hidden.shape[1], hidden.shape[1] + 1)
        zeros = np.zeros((hidden.shape[1], goal.shape[1]))
        return np.linalg.lstsq(np.r_[design[rows], penalty], np.r_[goal[rows], zeros])[0]

    def held_out(strength):
        return sum(
            np.square(goal[fold == f] - design[fold == f] @ ridge(fold != f, strength)).sum()
            for f in range(5)
        )

    errors = [np.square(goal).sum(), *map(held_out, STRENGTHS)]
    best = next(i for i in range(len(errors)) if i + 1 == len(errors) or errors[i + 1] >= errors[i])
    if best:
        change = torch.from_numpy(ridge(fold >= 0, STRENGTHS[best - 1]))
        linear.weight.add_(change[:-1].T)
        linear.bias.add_(change[-1])


def rows(tensor):
    return tensor.flatten(0, 1).numpy()


@torch.no_grad()
def by_hand(model, pixels, removed, weight):
    """Repair one removed layer in float64, everything in memory, each half-block written out."""
    model, own = copy.deepcopy(model).double(), copy.deepcopy(model).double()
    x = model._pos_embed(model.patch_embed(pixels.double()))
    y = x
    shares = np.tile(np.r_[weight, np.ones(x.shape[1] - 1)], len(pixels))

    def attend(block, x):
        return block.ls1(block.attn(block.norm1(x)))

    def refit(block, y, target):
        gamma = block.ls2.gamma if hasattr(block.ls2, "gamma") else 1.0
        hidden = block.mlp.act(block.mlp.fc1(block.norm2(y)))
        lacking = (target - y) / gamma - block.mlp.fc2(hidden)
        refitted(block.mlp.fc2, rows(hidden), rows(lacking), shares, len(pixels))

    if removed == 0:
        shift = attend(model.blocks[0], x).mean(0)
        own.pos_embed.add_(shift)
        y = y + shift
    for index, (full, block) in enumerate(zip(model.blocks, own.blocks, strict=True)):
        middle = x + attend(full, x)
        if index > removed:
            matched(block.norm1, rows(block.norm1(y)), rows(full.norm1(x)), shares)
        if index != removed:
            y = y + attend(block, y)
        if index >= removed:
            matched(block.norm2, rows(block.norm2(y)), rows(full.norm2(middle)), shares)
        x = middle + full.ls2(full.mlp(full.norm2(middle)))
        if index == removed - 1:
            refit(block, y, x + attend(model.blocks[removed], x))
        elif index == removed:
            refit(block, y, x)
        y = y + block.ls2(block.mlp(block.norm2(y)))
    token = np.ones(len(pixels))
    matched(own.norm, own.norm(y[:, 0]).numpy(), model.norm(x[:, 0]).numpy(), token)
    return own


@pytest.mark.parametrize("init_values", [None, 0.5])
@pytest.mark.parametrize(
    ("layer", "given", "weight"), [(0, {}, 20.0), (2, {}, 20.0), (2, {"prefix_weight": 5.0}, 5.0)]
)
def test_equals_a_repair_written_out_in_full(images, init_values, layer, given, weight):
    model = make(init_values)
    removal = RemovalSet.of([layer])
    # Batches of whole rounds of the folds deal the images as one batch would.
    repaired = transplant(ActivationCache(model, images, batch_size=20), removal, **given)
    ((pixels, _),) = images.batches(len(images))
    expected = by_hand(model, pixels, layer, weight).state_dict()
    for name, found in repaired.state_dict().items():
        torch.testing.assert_close(found, expected[name].float(), rtol=5e-3, atol=5e-3)


def test_comes_nearer_to_the_unpruned_model_and_leaves_it_alone(images):
    model = make()
    before = copy.deepcopy(model.state_dict())
    removal = RemovalSet.of([0, 2])
    repaired = transplant(ActivationCache(model, images), removal)
    ((batch, _),) = images.batches(len(images))
    with torch.no_grad():
        full, plain = model(batch), remove_attention(model, removal).model(batch)
        error = (repaired(batch) - full).square().mean()
    assert error < 0.5 * (plain - full).square().mean()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("layers", [[0, 1], [2]])
def test_changes_nothing_where_attention_gave_nothing(vit, images, layers):
    for layer in layers:
        for parameter in vit.blocks[layer].attn.proj.parameters():
            torch.nn.init.zeros_(parameter)
    removal = RemovalSet.of(layers)
    plain = remove_attention(vit, removal).model.state_dict()
    repaired = transplant(ActivationCache(vit, images), removal).state_dict()
    assert plain.keys() == repaired.keys()
    assert all(torch.equal(plain[key], repaired[key]) for key in plain)


@pytest.mark.real
@pytest.mark.full
def test_regains_on_real_weights_what_the_design_reports(deit_tiny, imagenet_halves):
    """The design's gain is 0.118, with 500 calibration images; here there are 250 and 250 to judge.

    Three points of standard error, so 6 points of slack (0.06) at the lower side.
    """
    calibration, evaluation = imagenet_halves
    removal = RemovalSet.of([0, 2, 4])
    plain = evaluate(remove_attention(deit_tiny, removal).model, evaluation).top1
    repaired = transplant(ActivationCache(deit_tiny, calibration), removal)
    assert evaluate(repaired, evaluation).top1 - plain > 0.118 - 0.06
