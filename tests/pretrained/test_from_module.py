import threading
from functools import partial

import pytest
import timm
import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from lambda_nas.errors import InputError
from lambda_nas.exports.network import export_network
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.from_module import from_module
from lambda_nas.pretrained.loading import load_model
from lambda_nas.pretrained.rebuild import build

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 3}


def small(**changes):
    return timm.create_model("deit_tiny_patch16_224", **{**SMALL, **changes})


def test_a_new_head_is_adopted():
    model = small()
    model.reset_classifier(7)
    adopted = from_module(model)
    assert adopted.name == "deit_tiny_patch16_224"
    assert adopted.model is not model
    assert adopted.model.num_classes == 7
    assert (
        build(
            adopted.config, removal=RemovalSet.of([1]), state=_without(adopted.model, 1)
        ).num_classes
        == 7
    )


def _without(model, layer):
    gone = tuple(f"blocks.{layer}.{part}" for part in ("attn", "norm1"))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(gone)}


def test_half_precision_is_adopted_in_single():
    assert from_module(small().half()).model.head.weight.dtype == torch.float32


def test_a_pruned_model_is_adopted_as_the_folder_it_came_from(tmp_path):
    adopted = from_module(small())
    pruned = build(adopted.config, removal=RemovalSet.of([1]), state=_without(adopted.model, 1))
    out = export_network(
        pruned, adopted.config, removal=RemovalSet.of([1]), out=tmp_path / "pruned"
    )
    folder = load_model(f"local-dir:{out}")
    again = from_module(timm.create_model(f"local-dir:{out}", pretrained=True))
    assert again.config.removed == RemovalSet.of([1])
    assert again.fingerprint == folder.fingerprint


def test_what_timm_did_not_build_is_refused():
    for model in (nn.Linear(2, 2), VisionTransformer(**SMALL)):
        with pytest.raises(
            InputError, match=f"^model {type(model).__name__}: was not built by timm"
        ):
            from_module(model)


def test_what_was_changed_after_timm_built_it_is_refused():
    model = small()
    model.blocks[0].mlp.fc1 = nn.Linear(24, 50)
    with pytest.raises(
        InputError, match=r"is not what timm builds .*2 of another shape .*change nothing"
    ):
        from_module(model)


def test_arguments_that_json_cant_hold_are_refused():
    model = small(norm_layer=partial(nn.LayerNorm, eps=1e-3))
    with pytest.raises(InputError, match=r"not JSON serializable.*arguments that JSON can hold"):
        from_module(model)


@pytest.mark.parametrize("trainable", ["", "head"])
def test_frozen_parameters_train_in_the_copy(trainable):
    model = small()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(trainable) and name.startswith(trainable))
    frozen = {name: p.requires_grad for name, p in model.named_parameters()}
    own = from_module(model).model
    own(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in own.parameters())
    assert {name: p.requires_grad for name, p in model.named_parameters()} == frozen


def test_a_network_made_in_inference_mode_trains_in_the_copy():
    with torch.inference_mode():
        own = from_module(small()).model
    own(torch.randn(2, 3, 32, 32)).sum().backward()


def test_hooks_stay_behind_and_are_told():
    model, seen = small().train(), []
    model.blocks[0].register_forward_hook(lambda *_: seen.append("called"))
    model.blocks[0].register_forward_hook(partial(print, threading.Lock()))
    model.blocks[1].register_full_backward_hook(lambda *_: seen.append("called"))
    taken = from_module(model)
    taken.model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert not seen
    assert taken.notes == ("left out, hooks that were set on the model: 3",)
    assert model.training
    assert len(model.blocks[0]._forward_hooks) == 2


def test_an_architecture_without_settings_of_timm():
    @register_model
    def vit_of_someone(pretrained=False, **kwargs):
        return build_model_with_cfg(VisionTransformer, "vit_of_someone", pretrained, **kwargs)

    model = timm.create_model("vit_of_someone", num_classes=7, **SMALL)
    model.pretrained_cfg["input_size"] = (3, 32, 32)
    assert from_module(model).image_size == (32, 32)


def test_shared_weights_are_separate_in_the_copy():
    model = small()
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    own = from_module(model).model
    assert own.blocks[1].mlp.fc1.weight is not own.blocks[0].mlp.fc1.weight
    assert torch.equal(own.blocks[1].mlp.fc1.weight, own.blocks[0].mlp.fc1.weight)


def test_a_linear_head_of_ones_own_decides_the_number_of_classes():
    model = small()
    model.head = nn.Linear(24, 7)
    taken = from_module(model)
    assert taken.model.num_classes == 7
    assert torch.equal(taken.model.head.weight, model.head.weight)


def test_a_head_that_timm_does_not_build_is_refused():
    model = small()
    model.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(24, 7))
    with pytest.raises(InputError, match=r"2 unexpected \(head\.1\.bias.*reset_classifier"):
        from_module(model)


def test_an_activation_changed_after_timm_built_it_is_refused():
    model = small()
    model.blocks[0].mlp.act = nn.ReLU()
    with pytest.raises(InputError, match=r"with the same weights, outputs differ by \d"):
        from_module(model)


def test_features_only_is_refused():
    model = timm.create_model("deit_tiny_patch16_224", features_only=True, **SMALL)
    with pytest.raises(InputError, match="has no logits as its output: create it without feat"):
        from_module(model)
