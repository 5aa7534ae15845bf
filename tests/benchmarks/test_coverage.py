"""Removal of attention in one small instance of each family that has it, and what is refused."""

import warnings

import pytest
import timm
import torch

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.branches import find_branches
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import removable_layers, remove_attention
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.pretrained.rebuild import build
from lambda_nas.scoring.forwards import forwards_of
from lambda_nas.scoring.prior import Scorer, layer_priors
from lambda_nas.training.dilution import dilute, finish, set_lambda

# The second number is how many of the layers can't be removed.
FAMILIES = {
    "beit_base_patch16_224": ({"depth": 2, "embed_dim": 96, "num_heads": 3}, 0),
    "cait_xxs24_224": ({"depth": 2}, 0),
    "coat_lite_tiny": ({}, 0),
    "coat_tiny": ({}, 6),
    "convit_tiny": ({"depth": 4, "local_up_to_layer": 2}, 0),
    "crossvit_tiny_240": ({}, 0),
    "csatv2": ({}, 0),
    "davit_tiny": ({"depths": (1, 1, 1, 1)}, 0),
    "deepseek_vit_412m": ({"depth": 2, "embed_dim": 96, "num_heads": 3}, 0),
    "deit_tiny_distilled_patch16_224": ({"depth": 2}, 0),
    "edgenext_xx_small": ({}, 0),
    "efficientformer_l1": ({}, 0),
    "efficientformerv2_s0": ({}, 0),
    "efficientvit_b0": ({}, 0),
    "efficientvit_m0": ({}, 0),
    "eva02_tiny_patch14_224": ({"depth": 2}, 0),
    "fastvit_sa12": ({}, 0),
    "gcvit_xxtiny": ({}, 0),
    "hiera_tiny_224": ({"stages": (1, 2, 2, 2)}, 3),
    "hieradet_small": ({"stages": (1, 2, 2, 1)}, 3),
    "levit_128s": ({}, 0),
    "lowformer_b0": ({}, 0),
    "maxvit_rmlp_pico_rw_256": ({}, 0),
    "coatnet_pico_rw_224": ({}, 2),
    "caformer_s18": ({}, 0),
    "mobilenetv4_hybrid_medium": ({}, 0),
    "mobilevit_xxs": ({}, 0),
    "mobilevitv2_050": ({}, 0),
    "mvitv2_tiny": ({}, 3),
    "naflexvit_base_patch16_gap": ({"depth": 2, "embed_dim": 96, "num_heads": 3}, 0),
    "nest_tiny": ({}, 0),
    "nextvit_small": ({"depths": (1, 1, 5, 2)}, 0),
    "pit_ti_224": ({"depth": (1, 1, 1)}, 0),
    "pvt_v2_b0": ({"depths": (1, 1, 1, 1)}, 0),
    "samvit_base_patch16": (
        {"depth": 2, "embed_dim": 96, "num_heads": 3, "global_attn_indexes": (1,)},
        0,
    ),
    "shvit_s1": ({}, 0),
    "swiftformer_xs": ({}, 0),
    "swin_tiny_patch4_window7_224": ({"depths": (2, 1, 1, 1)}, 0),
    "swinv2_cr_tiny_ns_224": ({"depths": (1, 1, 2, 1)}, 0),
    "swinv2_tiny_window8_256": ({"depths": (1, 1, 2, 1)}, 0),
    "tiny_vit_5m_224": ({"depths": (1, 2, 2, 1)}, 0),
    "tnt_s_patch16_224": ({"depth": 2}, 0),
    "twins_svt_small": ({"depths": (2, 2, 2, 2)}, 0),
    "visformer_tiny": ({}, 0),
    "vit_base_patch16_rpn_224": ({"depth": 2, "embed_dim": 96, "num_heads": 3}, 0),
    "vit_relpos_small_patch16_rpn_224": ({"depth": 2, "embed_dim": 96, "num_heads": 3}, 0),
    "vit_tiny_r_s16_p8_224": ({"depth": 2}, 0),
    "vitamin_small_224": ({}, 0),
    "volo_d1_224": ({}, 0),
    "xcit_nano_12_p16_224": ({"depth": 2}, 0),
}

# One of each kind of block and of each reason for a layer to stay; the others are for --full.
QUICK = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "convit_tiny",
    "eva02_tiny_patch14_224",
    "hiera_tiny_224",
    "naflexvit_base_patch16_gap",
    "pit_ti_224",
    "pvt_v2_b0",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_relpos_small_patch16_rpn_224",
    "vit_tiny_r_s16_p8_224",
    "xcit_nano_12_p16_224",
)

# Of other modules, which give attention what it looks at or how far away that is.
SERVES_ATTENTION = ("global_block", "rel_pos", "pos_embed")
# SwiftFormer normalizes over tokens, and has one here: nothing but rounding is left to learn from.
MAY_NOT_LEARN = (*SERVES_ATTENTION, "w_g")


@pytest.fixture
def coverage(benchmark):
    return benchmark("coverage")


@pytest.fixture(
    params=[
        name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in FAMILIES
    ]
)
def name(request):
    return request.param


@pytest.fixture
def small(coverage, name):
    """Return a small model of a family, an image, and how to build it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size, kwargs = coverage.smallest(name, FAMILIES[name][0])
        model = coverage.create(name, kwargs)
    return model, torch.rand(2, 3, size, size), kwargs


def test_family(coverage, name, small):
    model, images, kwargs = small
    layers = removable_layers(model)
    assert len(find_branches(model)) - len(layers) == FAMILIES[name][1]
    with torch.no_grad():
        unpruned = model(images)
        assert torch.equal(remove_attention(model, RemovalSet()).model(images), unpruned)
    for layer in coverage.some_layers(model, layers):
        coverage.check_layer(model, layer, images, unpruned)
    _check_gradients(model, remove_attention(model, RemovalSet.of(layers[:1])).model, images)
    _check_walk(model, images)
    with coverage.undrawn():
        _check_all_removed(model, images, RemovalSet.of(layers), name, kwargs)


def _check_walk(model, images):
    """The prior of each layer, as a search asks for it, is that of whole networks."""
    pixels = (255 * images).round().to(torch.uint8)
    labels, half = torch.zeros(2, dtype=torch.int64), (0.5,) * images.shape[1]
    scorer = Scorer(forwards_of(model, ImageSet(pixels, labels, half, half)))
    ((batch, _),) = scorer.forwards.images.batches(2)
    for prior in layer_priors(scorer)[:2]:
        pruned = remove_attention(model, RemovalSet.of([prior.index])).model
        with torch.no_grad():
            p, q = model(batch).log_softmax(1), pruned(batch).log_softmax(1)
        expected = (p.exp() * (p - q)).sum(1).mean().item()
        assert prior.relative_entropy == pytest.approx(expected, rel=1e-3, abs=1e-5)


def _check_all_removed(model, images, everything, name, kwargs):
    bare = remove_attention(model, everything).model
    with torch.no_grad():
        expected = bare(images)
    with pytest.raises(UnsupportedModelError, match="no attention layer"):
        removable_layers(bare)
    diluted = dilute(model, everything, compensation="none")
    set_lambda(diluted, 0)
    finished = finish(diluted)
    with torch.no_grad():
        torch.testing.assert_close(finished(images), expected, rtol=1e-4, atol=1e-4)
    config = ModelConfig(name, kwargs)
    for plain in (False, True):
        rebuilt = build(config, removal=everything, state=bare.state_dict(), plain=plain)
        with torch.no_grad():
            torch.testing.assert_close(rebuilt(images), expected, rtol=1e-4, atol=1e-4)


def _check_gradients(model, bare, images):
    """What learned before and is still there learns, but what only attention looked at."""
    learning = [_learning(each, images) for each in (model, bare)]
    left = {parameter for parameter, _ in bare.named_parameters()}
    silent = (learning[0] & left) - learning[1]
    assert all(any(part in name for part in MAY_NOT_LEARN) for name in silent), silent


def _learning(model, images):
    model.zero_grad()
    model(images).square().sum().backward()
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "ResNet has no residual self-attention layer to remove"),
        ("botnet26t_256", "ByobNet has no residual self-attention layer to remove"),
        ("vit_small_patch16_18x2_224", "attention layers in parallel share one branch"),
        ("vit_dpwee_patch16_reg1_gap_256", "attention and MLP are one parallel branch"),
        ("maxvit_tiny_pm_256", "attention layers in parallel share one branch"),
    ],
)
def test_what_is_refused(name, reason):
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(UnsupportedModelError, match=reason):
        removable_layers(model)
