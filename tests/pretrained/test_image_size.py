"""The size of the images that a model is judged, priced and exported at."""

import json

import pytest
import timm
import torch
from timm.data.model_config import resolve_input_data_config
from timm.models import save_for_hf

from lambda_nas.errors import InputError
from lambda_nas.exports.network import export_network
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.fitting import resize
from lambda_nas.pretrained.from_module import from_module
from lambda_nas.pretrained.loading import load_model

NAME = "vit_tiny_patch16_224"
SMALL = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 4}
MADE = [{"img_size": 64}, {"img_size": 64, "dynamic_img_size": True}]


def small(**args):
    torch.manual_seed(6)
    return timm.create_model(NAME, **SMALL, **args).eval()


@pytest.mark.parametrize("args", MADE)
def test_a_network_is_used_at_the_size_it_was_made_for(args):
    taken = from_module(small(**args))
    assert taken.image_size == (64, 64)
    assert resolve_input_data_config(taken.model)["input_size"] == (3, 64, 64)
    assert taken.all_notes == ("images at 64 x 64",)


@pytest.mark.parametrize("args", MADE)
def test_a_folder_is_used_at_the_size_it_was_made_for(args, tmp_path):
    save_for_hf(small(**args), str(tmp_path / "m"), model_args=SMALL | args)
    loaded = load_model(f"local-dir:{tmp_path / 'm'}")
    assert resolve_input_data_config(loaded.model)["input_size"] == (3, 64, 64)


@pytest.mark.parametrize("args", [{"img_size": 64}, {"dynamic_img_size": True}])
def test_another_size_resamples_positions_as_timm_does(args):
    model = small(**args)
    taken = from_module(model, img_size=32)
    assert taken.image_size == (32, 32)
    if "img_size" in args:
        model.set_input_size(img_size=(32, 32))
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(taken.model(images), model(images), atol=1e-5)


@pytest.mark.parametrize("args", MADE)
@pytest.mark.parametrize("size", [64, 32])
def test_an_export_keeps_the_size(args, size, tmp_path):
    taken = from_module(small(**args), img_size=size)
    removal = RemovalSet.of([1])
    pruned = remove_attention(taken.model, removal).model
    out = export_network(pruned, taken.config, removal=removal, out=tmp_path / "out")
    written = json.loads((out / "config.json").read_text())
    assert written["pretrained_cfg"]["input_size"] == [3, size, size]
    loaded = load_model(f"local-dir:{out}")
    assert loaded.image_size == (size, size)
    images = torch.randn(2, 3, size, size)
    assert torch.allclose(loaded.model(images), pruned(images), atol=1e-5)
    assert load_model(f"local-dir:{out}", img_size=48).image_size == (48, 48)


def test_another_size_is_another_model():
    dynamic = small(dynamic_img_size=True)
    at = {size: from_module(dynamic, img_size=size).fingerprint for size in (32, 64)}
    assert at[32] != at[64]
    assert from_module(dynamic).fingerprint == from_module(dynamic, img_size=224).fingerprint


def test_a_size_that_a_family_or_a_model_cant_take():
    levit = timm.create_model("levit_128s", num_classes=4)
    message = r"^img_size 64: LevitDistilled can't take images of this size \(11 of another shape.*"
    with pytest.raises(InputError, match=message + r"it was built for 224 x 224$"):
        resize(levit, 64)
    with pytest.raises(InputError, match=r"^img_size 0: must be at least 1"):
        resize(levit, 0)
    with pytest.raises(InputError, match=r"^img_size 60: .*can't take .*divisible by patch size"):
        from_module(small(dynamic_img_size=True), img_size=60)


def test_timms_own_test_size_is_told():
    model = small(dynamic_img_size=True)
    model.pretrained_cfg = {**model.pretrained_cfg, "test_input_size": (3, 288, 288)}
    note = "images at 224 x 224 (timm's own test size is 288 x 288)"
    assert from_module(model).all_notes == (note,)
