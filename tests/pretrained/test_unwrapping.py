"""What callers hand over in place of a plain timm model: found, or refused in words that fit."""

import threading

import pytest
import timm
import torch
from timm.utils import ModelEma, ModelEmaV2, ModelEmaV3
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from lambda_nas.errors import InputError
from lambda_nas.pretrained.from_module import from_module
from lambda_nas.pretrained.unwrapping import unwrap

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 3}


@pytest.fixture
def model():
    torch.manual_seed(4)
    return timm.create_model("deit_tiny_patch16_224", num_classes=5, **SMALL)


def compiled_block(model):
    model.blocks[1] = torch.compile(model.blocks[1])
    return model


def three(model):
    return torch.compile(nn.DataParallel(AveragedModel(model)))


@pytest.mark.parametrize(
    "wrap",
    [
        *(torch.compile, compiled_block, nn.DataParallel, AveragedModel, three),
        *(ModelEma, ModelEmaV2, ModelEmaV3),
    ],
)
def test_wrappers_are_taken_off(model, wrap):
    expected = from_module(model).fingerprint
    assert from_module(wrap(model)).fingerprint == expected


class Mine(nn.Module):
    def __init__(self, model, name):
        super().__init__()
        setattr(self, name, model)
        self.extra = nn.Linear(5, 2)


@pytest.mark.parametrize("name", ["backbone", "module"])
def test_a_timm_model_in_a_module_of_ones_own_is_named(model, name):
    with pytest.raises(
        InputError, match=rf"^model Mine: was not built by timm.*lose.*model\.{name}$"
    ):
        unwrap(Mine(model, name))


class FromPeft(nn.Module):
    """Stands for a class of peft, which hands on the attributes of the model inside it."""

    __module__ = "peft.peft_model"

    def __init__(self, model):
        super().__init__()
        self.pretrained_cfg = model.pretrained_cfg


def test_adapters_are_to_be_merged_first(model):
    with pytest.raises(InputError, match=r"adapters of PEFT.*merge_and_unload"):
        unwrap(FromPeft(model))


def parametrized(model):
    parametrizations.spectral_norm(model.blocks[2].mlp.fc1)


def pruned(model):
    prune.l1_unstructured(model.blocks[2].mlp.fc1, "weight", amount=0.5)


def in_integers(model):
    model.cls_token = nn.Parameter(torch.zeros(1, 1, 24, dtype=torch.int8), requires_grad=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (parametrized, r"computes weights from others \(blocks\.2\.mlp\.fc1\).*remove_param"),
        (pruned, r"masks weights \(blocks\.2\.mlp\.fc1\): call .*prune\.remove"),
        (in_integers, r"has weights that are not plain numbers \(cls_token is torch\.int8\)"),
        (lambda model: model.to("meta"), r"has no weights \(cls_token is on the meta device\)"),
    ],
)
def test_weights_that_are_not_plain_are_refused(model, change, message):
    change(model)
    with pytest.raises(InputError, match=f"^model VisionTransformer: {message}"):
        from_module(model)


def test_a_quantized_model_is_refused(model):
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    with pytest.raises(InputError, match=r"is quantized \(blocks\.0\.attn\.qkv\): hand over"):
        from_module(quantized)


def test_tensors_and_locks_on_a_module(model):
    model.cache = model.pos_embed * 2
    from_module(model)
    model.lock = threading.Lock()
    with pytest.raises(InputError, match=r"can't be copied \(cannot pickle.*: remove the attrib"):
        from_module(model)


def test_what_is_no_network_is_refused(model):
    with pytest.raises(InputError, match=r"^model OrderedDict: is no network: give one"):
        from_module(model.state_dict())
