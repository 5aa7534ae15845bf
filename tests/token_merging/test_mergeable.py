"""What can not merge its tokens, and how it is told."""

import copy

import pytest
import torch
from timm.models import create_model
from timm.models.vision_transformer import ParallelScalingBlock, VisionTransformer

from lambda_nas.errors import InputError, UnsupportedModelError
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.token_merging.blocks import check_mergeable, merge_tokens
from lambda_nas.training.dilution import dilute


def test_values_that_are_none():
    with pytest.raises(InputError, match="r of token merging must be 0 or more, not -1"):
        Merging(-1)
    with pytest.raises(InputError, match="start of token merging must be 0 or more, not -2"):
        Merging(1, start=-2)


@pytest.mark.parametrize("r", [0, 3])
def test_a_start_behind_the_model(make_vit, r):
    with pytest.raises(InputError, match="start at block 4: the model has blocks 0 to 3"):
        merge_tokens(make_vit(), Merging(r, start=4))


def test_no_attention_left_to_merge_behind(make_vit):
    pruned = remove_attention(make_vit(), RemovalSet.of([2, 3])).model
    assert merge_tokens(pruned, Merging(3, start=1)) is not pruned
    with pytest.raises(InputError, match="nothing to merge: no block from 2 on has attention"):
        merge_tokens(pruned, Merging(3, start=2))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_token": False, "global_pool": "avg"}, "global_pool 'avg', whose head reads all"),
        ({"class_token": False, "global_pool": "map"}, "global_pool 'map'"),
        ({"global_pool": ""}, "global_pool ''"),
        ({"block_fn": ParallelScalingBlock}, "block 0 is a ParallelScalingBlock, not timm's pre-"),
        ({"attn_layer": "diff"}, "block 0 has a DiffAttention instead of timm's Attention"),
    ],
    ids=["avg", "map", "no pool", "parallel", "differential"],
)
def test_models_that_can_not_merge(make_vit, kwargs, message):
    with pytest.raises(UnsupportedModelError, match=message):
        check_mergeable(make_vit(**kwargs))


def test_models_of_another_kind(make_vit):
    class Own(VisionTransformer):
        pass

    with pytest.raises(UnsupportedModelError, match="of a ResNet; supported: timm's VisionTr"):
        check_mergeable(create_model("test_resnet"))
    with pytest.raises(UnsupportedModelError, match="of a Own; supported: timm's VisionTr"):
        check_mergeable(make_vit(cls=Own))


@pytest.mark.parametrize("compensation", ["paper", "none"])
def test_a_diluted_model(make_vit, compensation):
    diluted = dilute(make_vit(), RemovalSet.of([1]), compensation=compensation)
    with pytest.raises(UnsupportedModelError, match=r"block 1 has a .* call finish on a diluted"):
        merge_tokens(diluted, Merging(3))


def test_merging_twice(make_vit):
    merged = merge_tokens(make_vit(), Merging(2, start=1))
    with pytest.raises(UnsupportedModelError, match="block 1 merges tokens already"):
        merge_tokens(merged, Merging(2))


def test_parts_that_a_new_timm_might_have(make_vit):
    model = make_vit()
    model.blocks[2].attn.gate = torch.nn.Linear(16, 16)
    with pytest.raises(UnsupportedModelError, match=r"block 2 has parts .* not know: gate"):
        check_mergeable(model)
    other = make_vit()
    other.blocks[1].norm3 = torch.nn.LayerNorm(16)
    with pytest.raises(UnsupportedModelError, match=r"block 1 has parts .* not know: norm3"):
        check_mergeable(other)


def test_ways_to_run_blocks_that_would_lose_the_sizes(make_vit, pixels):
    merged = merge_tokens(make_vit(), Merging(2, start=1))
    checkpointing = copy.deepcopy(merged)
    checkpointing.set_grad_checkpointing()
    ways = (
        lambda: merged(pixels, attn_mask=torch.zeros(17, 17)),
        lambda: merged(pixels, is_causal=True),
        lambda: merged.forward_intermediates(pixels),
        lambda: checkpointing(pixels),
    )
    for run in ways:
        with pytest.raises(
            UnsupportedModelError, match="merges tokens supports no attention masks"
        ):
            run()
