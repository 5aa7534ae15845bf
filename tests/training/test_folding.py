"""Folding against the doubled residual written by hand, in float64."""

import copy

import pytest
import torch
from torch import nn

from lambda_nas.errors import LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.training.folding import check_foldable, fold, scale_norms

SETS = [RemovalSet.of(layers) for layers in ([0], [3], [1, 2], [0, 1, 2, 3])]


def doubling(doubled):
    def run_block(index, block, x):
        if index in doubled:
            x = 2 * x
        elif not isinstance(block, AttentionFreeBlock):
            x = x + block.ls1(block.attn(block.norm1(x)))
        return x + block.ls2(block.mlp(block.norm2(x)))

    return run_block


@pytest.fixture
def expected(pixels, forward_by_hand):
    """Return ``run(pruned, doubled)``: the doubled network's logits, computed in float64."""

    @torch.no_grad()
    def run(pruned, doubled):
        exact = copy.deepcopy(pruned).double()
        return forward_by_hand(exact, pixels.double(), doubling(doubled))

    return run


def shrink_stream(model, factor):
    """Make the residual stream so small that the norms' eps is no longer negligible."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("cls", "pos", "reg", "dist", "patch", "norm_pre")):
                parameter.mul_(factor)
            if name.endswith(("mlp.fc2.weight", "mlp.fc2.bias", "proj.weight", "proj.bias")):
                parameter.mul_(factor)


@pytest.mark.parametrize("doubled", SETS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "factor"), [(torch.float32, 1.0), (torch.float32, 1e-2), (torch.float64, 1e-2)]
)
@torch.no_grad()
def test_the_outputs_stay(vit, pixels, expected, distance, doubled, dtype, factor):
    shrink_stream(vit, factor)
    pruned = remove_attention(vit, doubled).model.to(dtype)
    found = fold(pruned, doubled)(pixels.to(dtype))
    assert distance(found, expected(pruned, doubled)) < 1e-5


@torch.no_grad()
def test_blocks_removed_without_doubling(make_vit, pixels, expected, distance):
    doubled = RemovalSet.of([0, 2])
    pruned = remove_attention(make_vit(init_values=0.5), RemovalSet.of([0, 1, 2])).model
    assert distance(fold(pruned, doubled)(pixels), expected(pruned, doubled)) < 1e-5


@torch.no_grad()
def test_eps_is_part_of_what_is_folded(make_vit, pixels, expected, distance):
    """The small streams above would tell: without the norms' eps the outputs differ."""
    model, doubled = make_vit(), RemovalSet.of([0, 1, 2])
    shrink_stream(model, 1e-2)
    pruned = remove_attention(model, doubled).model
    folded = fold(pruned, doubled)
    for module in folded.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    assert distance(folded(pixels), expected(pruned, doubled)) > 1e-4


@torch.no_grad()
def test_weights_and_scale_norms_rebuild_the_folded_model(vit, pixels):
    doubled = RemovalSet.of([1, 2])
    shrink_stream(vit, 1e-2)
    pruned = remove_attention(vit, doubled).model
    folded = fold(pruned, doubled)
    rebuilt = copy.deepcopy(pruned)
    rebuilt.load_state_dict(folded.state_dict())
    scale_norms(rebuilt, doubled)
    assert torch.equal(rebuilt(pixels), folded(pixels))


def test_scales_by_hand(make_vit):
    doubled = RemovalSet.of([1, 2])
    folded = fold(remove_attention(make_vit(), doubled).model, doubled)
    norms = {
        name: 1e-6 / module.eps
        for name, module in folded.named_modules()
        if isinstance(module, nn.LayerNorm)
    }
    assert norms == pytest.approx(
        {
            **{"blocks.0.norm1": 1, "blocks.0.norm2": 1, "blocks.1.norm2": 4},
            **{"blocks.2.norm2": 16, "blocks.3.norm1": 16, "blocks.3.norm2": 16, "norm": 16},
        }
    )


def test_folding_nothing_changes_nothing(make_vit):
    model = make_vit(final_norm=False)
    folded = fold(model, RemovalSet())
    assert folded is not model
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, folded.state_dict()[name])


def test_the_given_model_is_left_alone(make_vit, pixels, weights_of):
    pruned = remove_attention(make_vit(), RemovalSet.of([0])).model
    before = weights_of(pruned)
    fold(pruned, RemovalSet.of([0]))
    assert all(torch.equal(before[name], weight) for name, weight in pruned.state_dict().items())
    assert pruned.norm.eps == 1e-6


@pytest.mark.parametrize(
    "kwargs",
    [
        {"final_norm": False},
        {"final_norm": False, "class_token": False, "global_pool": "avg"},
        {"class_token": False, "global_pool": "map", "fc_norm": True},
    ],
)
def test_no_norm_before_the_head(make_vit, kwargs):
    with pytest.raises(UnsupportedModelError, match="no norm follows the model"):
        check_foldable(make_vit(**kwargs), RemovalSet.of([0]))


def test_a_distilled_head_ignores_fc_norm(make_vit):
    from timm.models.deit import VisionTransformerDistilled

    model = make_vit(cls=VisionTransformerDistilled, fc_norm=True)
    with pytest.raises(UnsupportedModelError, match="no norm follows the model"):
        check_foldable(model, RemovalSet.of([0]))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("mlp.fc2", "Block has no linear layer mlp.fc2"),
        ("attn.proj", "Block has no linear layer attn.proj"),
        ("norm1", "norm1 of a Block is a Identity"),
    ],
)
def test_a_branch_that_cannot_take_the_factor(make_vit, part, message):
    model = make_vit()
    inside, _, name = part.rpartition(".")
    setattr(model.blocks[2].get_submodule(inside), name, nn.Identity())
    check_foldable(model, RemovalSet.of([3]))
    with pytest.raises(UnsupportedModelError, match=message):
        check_foldable(model, RemovalSet.of([1]))


def test_a_block_that_still_attends(make_vit):
    pruned = remove_attention(make_vit(), RemovalSet.of([0])).model
    with pytest.raises(LayerIndexError, match="block 1 still has attention"):
        fold(pruned, RemovalSet.of([0, 1]))


@pytest.mark.parametrize("function", [fold, scale_norms])
@pytest.mark.parametrize("layer", [9, -1])
def test_a_block_that_does_not_exist(make_vit, function, layer):
    with pytest.raises(LayerIndexError, match=rf"can't fold \{{{layer}\}}: the model has 4 blocks"):
        function(make_vit(), RemovalSet.of([layer]))
