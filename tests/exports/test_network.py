import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from safetensors import safe_open
from timm.models import VisionTransformer, build_model_with_cfg, register_model

from lambda_nas.errors import InputError
from lambda_nas.exports.network import export_network
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.digits import digits_model
from lambda_nas.pretrained.loading import ModelConfig, load_model
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.dilution import dilute, finish, set_lambda
from lambda_nas.training.folding import fold

SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3}
REMOVAL = RemovalSet.of([0, 2])

ARCHITECTURES = (
    ("deit_tiny_patch16_224", {}),
    ("deit_tiny_patch16_224", {"init_values": 0.5, "qk_norm": True}),
    ("deit_tiny_distilled_patch16_224", {}),
)
FRESH = """
import sys, torch
{imports}
images = torch.load(sys.argv[1])
found = []
for folder in sys.argv[3:]:
    model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
    with torch.inference_mode():
        found.append(model(images))
assert ("lambda_nas" in sys.modules) == {ours}
torch.save(found, sys.argv[2])
"""


def small(architecture="deit_tiny_patch16_224", **kwargs):
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=7, **{**SMALL, **kwargs}).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def fresh_logits(folders, images, tmp_path, *, ours):
    """Load the folders in a process of its own, with or without our package."""
    torch.save(images, tmp_path / "images.pt")
    script = FRESH.format(imports="import lambda_nas, timm" if ours else "import timm", ours=ours)
    paths = [tmp_path / "images.pt", tmp_path / "logits.pt", *folders]
    command = [sys.executable, "-c", script, *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return torch.load(tmp_path / "logits.pt")


def tensor_names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(False, id="pruned"),
        pytest.param(True, id="plain", marks=pytest.mark.full),
    ],
)
def test_a_fresh_process_gives_the_same_logits(tmp_path, plain):
    bases = [small(architecture, **kwargs) for architecture, kwargs in ARCHITECTURES]
    models = [remove_attention(base, REMOVAL).model for base in bases]
    folders = [
        export_network(
            model, ModelConfig.of(base), removal=REMOVAL, out=tmp_path / str(n), plain=plain
        )
        for n, (model, base) in enumerate(zip(models, bases, strict=True))
    ]
    images = torch.randn(3, 3, 32, 32)
    found = fresh_logits(folders, images, tmp_path, ours=not plain)
    for model, folder, logits in zip(models, folders, found, strict=True):
        with torch.inference_mode():
            expected = model(images)
        assert torch.allclose(logits, expected, atol=1e-6, rtol=1e-6)
        assert ("blocks.0.attn.qkv.weight" in tensor_names(folder)) == plain
        assert "blocks.1.attn.qkv.weight" in tensor_names(folder)


@pytest.mark.full
def test_the_digits_are_plain_without_us(tmp_path):
    digits = digits_model()
    model = remove_attention(digits.model, REMOVAL).model
    request = {"removal": REMOVAL, "plain": True}
    folder = export_network(model, digits.config, out=tmp_path / "digits", **request)
    images = torch.randn(3, 1, 8, 8)
    [logits] = fresh_logits([folder], images, tmp_path, ours=False)
    with torch.inference_mode():
        assert torch.equal(logits, model(images))


def test_plain_timm_knows_no_architecture_of_others(tmp_path):
    @register_model
    def vit_of_somebody(pretrained=False, **kwargs):
        return build_model_with_cfg(VisionTransformer, "vit_of_somebody", pretrained, **kwargs)

    model = timm.create_model("vit_of_somebody", num_classes=7, **SMALL).eval()
    request = {"removal": RemovalSet(), "out": tmp_path / "out"}
    with pytest.raises(InputError, match=r"^plain: vit_of_somebody is not an architecture of timm"):
        export_network(model, ModelConfig.of(model), plain=True, **request)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written(tmp_path):
    base = small()
    model = remove_attention(base, REMOVAL).model
    folder = export_network(
        model, ModelConfig.of(base), removal=REMOVAL, out=tmp_path / "a" / "out"
    )
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "lambda_nas_pruned"
    assert config["num_classes"] == 7
    args = config["model_args"]
    assert (args["base"], args["removed"], args["doubled"]) == ("deit_tiny_patch16_224", [0, 2], [])
    assert (args["depth"], args["embed_dim"]) == (4, 24)
    assert tensor_names(folder) == set(model.state_dict())


def test_an_export_can_be_searched_and_exported_again(tmp_path):
    base = small()
    first = remove_attention(base, REMOVAL).model
    folder = export_network(first, ModelConfig.of(base), removal=REMOVAL, out=tmp_path / "first")
    loaded = load_model(f"local-dir:{folder}")
    assert loaded.config.architecture == "deit_tiny_patch16_224"
    assert loaded.config.removed == REMOVAL
    more = RemovalSet.of([3])
    second = remove_attention(loaded.model, more).model
    images = torch.randn(2, 3, 32, 32)
    for plain in (False, True):
        out = tmp_path / f"second-{plain}"
        export_network(second, loaded.config, removal=more, out=out, plain=plain)
        again = load_model(f"local-dir:{out}")
        assert again.config.removed == (RemovalSet() if plain else RemovalSet.of([0, 2, 3]))
        assert torch.allclose(again.model(images), second(images), atol=1e-6)


def test_doubled_layers_round_trip(tmp_path):
    base = small()
    model = fold(remove_attention(base, REMOVAL).model, REMOVAL)
    folder = export_network(
        model, ModelConfig.of(base), removal=REMOVAL, doubled=REMOVAL, out=tmp_path / "out"
    )
    images = torch.randn(2, 3, 32, 32)
    loaded = load_model(f"local-dir:{folder}")
    assert loaded.config.doubled == REMOVAL
    assert torch.equal(loaded.model(images), model(images))
    plain = export_network(
        model,
        ModelConfig.of(base),
        removal=REMOVAL,
        doubled=REMOVAL,
        out=tmp_path / "plain",
        plain=True,
    )
    # Plain timm keeps the norms' own eps.
    logits = load_model(f"local-dir:{plain}").model(images)
    assert torch.allclose(logits, model(images), atol=1e-4)


@torch.no_grad()
def doubled_by_hand(base, images):
    """Run a DeiT whose blocks in ``REMOVAL`` compute ``2x + mlp(norm2(2x))``, in float64."""
    model = copy.deepcopy(base).double()
    x = model.patch_embed(images.double())
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1) + model.pos_embed
    for index, block in enumerate(model.blocks):
        x = 2 * x if index in REMOVAL else x + block.attn(block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    return model.head(model.norm(x)[:, 0]).float()


@torch.no_grad()
def test_the_papers_compensation_is_folded_into_the_export(tmp_path):
    base = small()
    images = torch.randn(2, 3, 32, 32)
    expected = doubled_by_hand(base, images)
    diluted = dilute(base, REMOVAL, compensation="paper")
    set_lambda(diluted, 0.0)
    assert not torch.allclose(remove_attention(base, REMOVAL).model(images), expected, atol=1e-2)
    folder = export_network(
        finish(diluted),
        ModelConfig.of(base),
        removal=REMOVAL,
        doubled=REMOVAL,
        out=tmp_path / "out",
    )
    loaded = load_model(f"local-dir:{folder}").model
    assert torch.allclose(loaded(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param("deit_tiny_patch16_224", marks=pytest.mark.full),
        pytest.param("deit_tiny_distilled_patch16_224", marks=pytest.mark.full),
    ],
)
def test_a_fresh_process_merges_tokens(tmp_path, architecture):
    base, merging = small(architecture, patch_size=8), Merging(3, start=1)
    model = fold(remove_attention(base, REMOVAL).model, REMOVAL)
    folder = export_network(
        model,
        ModelConfig.of(base),
        removal=REMOVAL,
        doubled=REMOVAL,
        merging=merging,
        out=tmp_path / "out",
    )
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, unmerged = merge_tokens(model, merging)(images), model(images)
    [logits] = fresh_logits([folder], images, tmp_path, ours=True)
    assert torch.allclose(logits, expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(logits, unmerged, atol=1e-3)
    assert json.loads((folder / "config.json").read_text())["model_args"]["merging"] == [3, 1]
    assert tensor_names(folder) == set(model.state_dict())


def test_a_merged_export_is_exported_again(tmp_path):
    base = small(patch_size=8)
    model = remove_attention(base, REMOVAL).model
    config = ModelConfig.of(base)
    for name, merging in (("merged", Merging(3)), ("not merged", None)):
        export_network(model, config, removal=REMOVAL, merging=merging, out=tmp_path / name)
    loaded = load_model(f"local-dir:{tmp_path / 'merged'}")
    other = load_model(f"local-dir:{tmp_path / 'not merged'}")
    assert (loaded.config.merging, other.config.merging) == (Merging(3), None)
    assert (loaded.config.removed, other.config.removed) == (REMOVAL, REMOVAL)
    # The weights are the same, the functions aren't.
    assert loaded.fingerprint != other.fingerprint
    images = torch.randn(2, 3, 32, 32)
    for merging, expected in (
        (None, loaded.model),
        (Merging(2, start=1), merge_tokens(model, Merging(2, start=1))),
        (Merging(0), model),
    ):
        out = tmp_path / f"{merging}"
        export_network(loaded.model, loaded.config, removal=RemovalSet(), merging=merging, out=out)
        again = load_model(f"local-dir:{out}")
        assert torch.equal(again.model(images), expected(images))


def test_merging_is_not_lost_without_a_word(tmp_path):
    base = small(patch_size=8)
    merged, config = merge_tokens(base, Merging(3)), ModelConfig.of(base)
    with pytest.raises(InputError, match="network merges tokens: say how, with the merging"):
        export_network(merged, config, removal=RemovalSet(), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    request = {"removal": RemovalSet(), "merging": Merging(3), "out": tmp_path / "out"}
    loaded = load_model(f"local-dir:{export_network(merged, config, **request)}")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), merged(images))


def test_plain_timm_can_not_merge(tmp_path):
    base = small()
    config = ModelConfig.of(base)
    request = {"removal": RemovalSet(), "plain": True}
    merged = replace(config, merging=Merging(1))
    message = "^plain: this network merges tokens, which timm alone can't: leave it out"
    with pytest.raises(InputError, match=message):
        export_network(base, config, merging=Merging(1), out=tmp_path / "out", **request)
    with pytest.raises(InputError, match=message):
        export_network(base, merged, out=tmp_path / "out", **request)
    assert list(tmp_path.iterdir()) == []
    export_network(base, merged, merging=Merging(0), out=tmp_path / "out", **request)
    assert (tmp_path / "out" / "config.json").is_file()


def test_weights_that_lack_more_than_the_removed_layers_are_refused(tmp_path):
    base = small()
    model = remove_attention(base, REMOVAL).model
    for plain in (False, True):
        with pytest.raises(RuntimeError, match=r"blocks\.2\.attn"):
            export_network(
                model,
                ModelConfig.of(base),
                removal=RemovalSet.of([0]),
                out=tmp_path / "out",
                plain=plain,
            )
    assert not (tmp_path / "out").exists()


def test_places_that_are_taken(tmp_path):
    base = small()
    config = ModelConfig.of(base)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine")
    for out in (taken, taken / "note.txt"):
        with pytest.raises(InputError, match="exists and is not empty: choose another"):
            export_network(base, config, removal=RemovalSet(), out=out)
    with pytest.raises(InputError, match=r"^out: the folder .*note.txt can't be written"):
        export_network(base, config, removal=RemovalSet(), out=taken / "note.txt" / "out")
    assert [path.name for path in taken.iterdir()] == ["note.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert export_network(base, config, removal=RemovalSet.of([]), out=empty) == empty
    assert (empty / "config.json").is_file()


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_what_is_refused_before_any_work(tmp_path, format):
    (tmp_path / "note.txt").write_text("mine")
    request = {"removal": RemovalSet(), "out": tmp_path, "format": format}
    with pytest.raises(
        InputError, match=rf"^plain: for format timm only: leave it out, {format} needs"
    ):
        export_network(None, None, plain=True, **request)
    with pytest.raises(InputError, match="exists and is not empty: choose another"):
        export_network(None, None, **request)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.real
@pytest.mark.full
def test_real_deit_tiny(tmp_path, shared_data):
    loaded = load_model(f"local-dir:{shared_data / 'deit_tiny_patch16_224'}")
    model = remove_attention(loaded.model, REMOVAL).model
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = model(images)
    for plain in (False, True):
        folder = export_network(
            model, loaded.config, removal=REMOVAL, out=tmp_path / f"{plain}", plain=plain
        )
        [logits] = fresh_logits([folder], images, tmp_path, ours=not plain)
        assert torch.allclose(logits, expected, atol=1e-5)
