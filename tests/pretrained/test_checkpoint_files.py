"""Files of weights, as people and their tools write them."""

import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from lambda_nas.errors import InputError
from lambda_nas.pretrained.loading import load_model

NAME = "digits_vit"


@pytest.fixture
def load(tmp_path):
    def load_object(content, name=NAME, *, saved=None, **kwargs):
        torch.save(content, tmp_path / "c.pth", **saved or {})
        return load_model(name, checkpoint=tmp_path / "c.pth", **kwargs)

    return load_object


def weights(name=NAME, **kwargs):
    torch.manual_seed(5)
    return timm.create_model(name, **{"num_classes": 4, **kwargs}).state_dict()


def equal(loaded, state):
    own = loaded.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def wrapped(state):
    return {
        "under model_state_dict": {"model_state_dict": state, "optimizer_state_dict": {"lr": 1}},
        "under a name of one's own": {"weights": state, "epoch": 3},
        "averaged": {"state_dict_ema": state, "state_dict": weights(num_classes=3)},
        "Lightning": {"state_dict": prefixed("model.", state)},
        "nested": {"state_dict": prefixed("net.backbone.", state)},
        "compiled and distributed": prefixed("_orig_mod.module.", state),
        "numbers beside": {"state_dict": state, "best": np.float64(81.2), "seen": np.int64(3)},
        "a tensor beside": {"weights": state, "best": torch.tensor(0.8)},
        "arrays beside": {"state_dict": state, "confusion": np.zeros((4, 4), dtype=np.int64)},
    }


@pytest.mark.parametrize("how", wrapped({}))
def test_weights_are_found(load, how):
    state = weights()
    loaded = load(wrapped(state)[how])
    assert equal(loaded, state)
    assert not loaded.notes


def test_weights_of_a_loss_are_left_out_and_told(load):
    loaded = load({"state_dict": prefixed("net.", weights()) | {"loss.weight": torch.ones(4)}})
    assert loaded.notes == ("left out, weights of c.pth that are not the model's: loss.weight",)


def test_several_networks_are_refused(load):
    state = weights()
    with pytest.raises(InputError, match=r"several networks \(student\., teacher\.\): save the"):
        load(prefixed("student.", state) | prefixed("teacher.", state))
    with pytest.raises(InputError, match=r"several sets of weights \(student, teacher\)"):
        load({"student": state, "teacher": state})


def test_a_few_equal_names_make_no_network(load):
    theirs = {"vit.embeddings.cls_token": torch.ones(1), "vit.layernorm.weight": torch.ones(1)}
    with pytest.raises(InputError, match=r"2 unexpected \(vit\.embeddings\.cls_token, vit\.layer"):
        load(theirs)
    with pytest.raises(InputError, match=r"2 unexpected \(a\.cls_token, b\.pos_embed\)$"):
        load({"a.cls_token": torch.ones(1), "b.pos_embed": torch.ones(1)})


@pytest.mark.parametrize("saved", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("content", [Path("x"), nn.Linear(2, 2)])
def test_objects_are_named_and_never_run(load, content, saved):
    message = rf"could run any code: [\w.]*{type(content).__name__}\): save the weights alone"
    with pytest.raises(InputError, match=message):
        load({"seen": np.int64(3), "state_dict": weights(), "about": content}, saved=saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_torch_does_not_read_is_refused(load):
    with pytest.raises(
        InputError, match=r"wrote it in another way: Unsupported operand 149\): save"
    ):
        load(weights(), saved={"pickle_protocol": 4})


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("deit_tiny_distilled_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 3}),
        ("levit_128s", {}),
    ],
)
def test_two_heads_decide_the_number_of_classes(load, monkeypatch, name, small):
    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **more: build(*args, **small, **more))
    state = weights(name)
    loaded = load(state, name)
    assert loaded.model.num_classes == 4
    assert equal(loaded, state)


def test_the_names_of_swins_authors(load):
    name = "swin_tiny_patch4_window7_224"
    state = weights(name)
    theirs = {
        re.sub(
            r"layers\.(\d)\.downsample",
            lambda found: f"layers.{int(found[1]) - 1}.downsample",
            key.replace("head.fc.", "head."),
        ): value
        for key, value in state.items()
    }
    theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    loaded = load({"model": theirs}, name)
    assert equal(loaded, state)
    assert not loaded.notes
    del theirs["head.bias"]
    with pytest.raises(InputError, match=rf"doesn't fit {name}: 1 missing \(head\.fc\.bias\)$"):
        load({"model": theirs}, name)


def test_positions_say_the_image_size(load):
    state = weights(img_size=12)
    loaded = load(state)
    assert equal(loaded, state)
    assert loaded.config.model_args["img_size"] == (12, 12)
    assert loaded.notes == ("the weights in c.pth are for images of 12 x 12",)
    assert load(state, img_size=8).model.pos_embed.shape == (1, 17, 48)


def test_the_norm_before_the_head_says_how_it_pools(load):
    state = weights(global_pool="avg")
    loaded = load(state)
    assert equal(loaded, state)
    assert loaded.config.model_args["global_pool"] == "avg"


def test_register_and_class_tokens_that_the_model_has_not(load):
    with pytest.raises(InputError, match=r"1 unexpected \(reg_token\); 1 of another shape \(pos_"):
        load(weights(reg_tokens=2))
    with pytest.raises(InputError, match=r"1 missing \(cls_token\)"):
        load(weights(class_token=False, global_pool="avg"))
