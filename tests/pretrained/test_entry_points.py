import pytest
import timm
import torch

import lambda_nas  # noqa: F401
from lambda_nas.errors import InputError, LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.merging import Merging
from lambda_nas.models.surgery import count_params, removable_layers
from lambda_nas.token_merging.blocks import merge_tokens

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3}


def pruned(**kwargs):
    args = {"base": "deit_tiny_patch16_224", "removed": [0, 2], **SMALL, **kwargs}
    return timm.create_model("lambda_nas_pruned", **args)


def test_the_removed_layers_are_gone_and_the_rest_is_the_base():
    model, base = pruned(), timm.create_model("deit_tiny_patch16_224", **SMALL)
    assert removable_layers(model) == (1, 3)
    assert isinstance(model.blocks[2], AttentionFreeBlock)
    # norm1: 2 * 24; qkv: 24 * 72 + 72; proj: 24 * 24 + 24.
    assert count_params(base) - count_params(model) == 2 * (48 + 1800 + 600)
    assert model.pretrained_cfg["architecture"] == "lambda_nas_pruned"


def test_nothing_removed_is_the_base():
    model, base = pruned(removed=[]), timm.create_model("deit_tiny_patch16_224", **SMALL).eval()
    model.load_state_dict(base.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(images), base(images))


def test_data_settings_are_the_bases_and_its_weights_are_not():
    model = pruned()
    assert timm.data.resolve_model_data_config(model)["crop_pct"] == 0.9
    with pytest.raises(RuntimeError, match="No pretrained weights exist for lambda_nas_pruned"):
        pruned(pretrained=True)


def test_keywords_reach_the_base():
    assert pruned(num_classes=7)(torch.randn(1, 3, 32, 32)).shape == (1, 7)
    assert pruned(in_chans=1)(torch.randn(1, 1, 32, 32)).shape == (1, 1000)


def test_features_only():
    features = pruned(features_only=True, out_indices=(1, 3))(torch.randn(1, 3, 32, 32))
    assert [feature.shape for feature in features] == [(1, 24, 2, 2)] * 2


def test_layers_that_do_not_exist():
    with pytest.raises(LayerIndexError, match=r"layers 9: .* expected layers among 0, 1, 2, 3"):
        pruned(removed=[1, 9])


def test_bases_without_removable_attention():
    with pytest.raises(UnsupportedModelError, match="ResNet has no residual self-attention"):
        timm.create_model("lambda_nas_pruned", base="resnet18", removed=[0])


def test_doubled_layers_get_scaled_norms():
    plain, doubled = pruned(), pruned(doubled=[0])
    assert plain.state_dict().keys() == doubled.state_dict().keys()
    assert doubled.blocks[3].norm1.eps != plain.blocks[3].norm1.eps


def test_merged_tokens():
    plain, merged = pruned(patch_size=8).eval(), pruned(patch_size=8, merging=[3, 1]).eval()
    merged.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(merged(images), merge_tokens(plain, Merging(3, start=1))(images))
    assert not torch.equal(merged(images), plain(images))


def test_merging_that_can_not_be():
    with pytest.raises(UnsupportedModelError, match="global_pool 'avg'"):
        pruned(merging=[3, 0], global_pool="avg")
    with pytest.raises(InputError, match="can't start at block 4"):
        pruned(merging=[3, 4])


def test_digits_vit():
    model = timm.create_model("digits_vit")
    assert removable_layers(model) == tuple(range(12))
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert model.num_prefix_tokens == 1
    assert timm.data.resolve_model_data_config(model)["input_size"] == (1, 8, 8)
