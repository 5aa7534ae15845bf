import pytest
import timm
import torch
from huggingface_hub.utils import LocalEntryNotFoundError
from safetensors.torch import save_file
from timm.models import save_for_hf

from lambda_nas.errors import InputError, LayerIndexError
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.loading import load_model

NAME = "digits_vit"


@pytest.fixture
def network():
    torch.manual_seed(3)
    return timm.create_model(NAME, depth=2).eval()


@pytest.fixture
def folder(network, tmp_path):
    save_for_hf(network, str(tmp_path / "model"), safe_serialization=True)
    return tmp_path / "model"


def same_weights(one, other):
    other = other.state_dict()
    return all(torch.equal(value, other[key]) for key, value in one.state_dict().items())


def test_a_timm_folder(network, folder):
    loaded = load_model(f"local-dir:{folder}")
    assert same_weights(network, loaded.model)
    assert not loaded.model.training
    assert loaded.name == f"local-dir:{folder}"
    assert loaded.config.architecture == NAME
    assert loaded.config.model_args["depth"] == 2
    assert loaded.config.pretrained_cfg["mean"] == [0.3]
    assert "file" not in loaded.config.pretrained_cfg
    assert loaded.config.removed == RemovalSet()


def test_the_fingerprint_is_of_the_weights(network, folder, tmp_path):
    first = load_model(f"local-dir:{folder}").fingerprint
    assert len(first) == 16
    assert load_model(f"local-dir:{folder}").fingerprint == first
    with torch.no_grad():
        network.blocks[1].mlp.fc2.bias[0] += 1e-3
    save_for_hf(network, str(tmp_path / "other"), safe_serialization=True)
    assert load_model(f"local-dir:{tmp_path / 'other'}").fingerprint != first


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_checkpoints(tmp_path, wrap, suffix):
    network, file = timm.create_model(NAME), tmp_path / f"weights{suffix}"
    state = network.state_dict()
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({wrap: state, "epoch": 3} if wrap else state, file)
    assert same_weights(network, load_model(NAME, checkpoint=file).model)


def test_a_checkpoint_decides_the_number_of_classes(tmp_path):
    torch.save(timm.create_model(NAME, num_classes=4).state_dict(), tmp_path / "four.pt")
    loaded = load_model(NAME, checkpoint=tmp_path / "four.pt")
    assert loaded.model.num_classes == 4
    assert loaded.config.model_args["num_classes"] == 4


def test_a_checkpoint_replaces_a_folders_weights(folder, tmp_path):
    torch.manual_seed(9)
    network = timm.create_model(NAME, depth=2)
    torch.save(network.state_dict(), tmp_path / "other.pt")
    (folder / "model.safetensors").unlink()
    loaded = load_model(f"local-dir:{folder}", checkpoint=tmp_path / "other.pt")
    assert same_weights(network, loaded.model)


def test_a_checkpoint_that_does_not_fit(network, tmp_path):
    state = dict(network.state_dict(), extra=torch.zeros(1), cls_token=torch.zeros(1, 1, 3))
    torch.save(state, tmp_path / "two.pt")
    message = (
        rf"^checkpoint .*two\.pt: doesn't fit {NAME}: 120 missing "
        r"\(blocks\.10\.attn\.proj\.bias, .*, \.\.\.\); 1 unexpected \(extra\); "
        r"1 of another shape \(cls_token\)"
    )
    with pytest.raises(InputError, match=message):
        load_model(NAME, checkpoint=tmp_path / "two.pt")


def test_checkpoints_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"^checkpoint .*absent\.pt: there is no such file"):
        load_model(NAME, checkpoint=tmp_path / "absent.pt")
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(InputError, match=f"{name}: can't be read"):
            load_model(NAME, checkpoint=tmp_path / name)
    for content in ({"epoch": 3}, {}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(InputError, match=r"other\.pt: (holds no state dict|can't be read)"):
            load_model(NAME, checkpoint=tmp_path / "other.pt")


def test_names_that_timm_does_not_know(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"^model deit_tinny_patch16_224: .*: did you mean deit_tiny"
    ):
        load_model("deit_tinny_patch16_224", pretrained=True)
    with pytest.raises(InputError, match=r"see timm\.list_models"):
        load_model("!", pretrained=True)
    with pytest.raises(InputError, match=r"no weights tagged nope; expected one of .*\.fb_in1k"):
        load_model("deit_tiny_patch16_224.nope", pretrained=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=r"^model mine: this is a folder: write local-dir:mine"):
        load_model("mine")


def test_random_weights_are_refused():
    with pytest.raises(InputError, match="random weights: give pretrained, checkpoint FILE"):
        load_model(NAME)


def test_folders_that_are_no_models(folder, tmp_path):
    with pytest.raises(InputError, match=r"^model local-dir:.*absent: there is no such folder"):
        load_model(f"local-dir:{tmp_path / 'absent'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: the folder has no config\.json"):
        load_model(f"local-dir:{tmp_path / 'empty'}")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"its config\.json and weights don't load \("):
        load_model(f"local-dir:{folder}")
    weights.unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_model(f"local-dir:{folder}")


def test_a_folder_with_a_broken_config(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"its config\.json and weights don't load \(Expecting"):
        load_model(f"local-dir:{folder}")


def test_an_export_whose_layers_do_not_exist_keeps_its_own_error(folder):
    config = (folder / "config.json").read_text()
    config = config.replace('"architecture": "digits_vit"', '"architecture": "lambda_nas_pruned"')
    config = config.replace('"depth": 2', '"depth": 2, "base": "digits_vit", "removed": [7]')
    (folder / "config.json").write_text(config)
    with pytest.raises(LayerIndexError, match=r"layers 7"):
        load_model(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["hf-hub:timm/absent", "deit_tiny_patch16_224"])
def test_downloads_without_network(monkeypatch, name):
    def fail(*args, **kwargs):
        raise LocalEntryNotFoundError("cannot find the file on the Hub\nsecond line")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", fail)
    message = (
        r": download failed \(cannot find the file on the Hub\): without network, use checkpoint"
    )
    with pytest.raises(InputError, match=message):
        load_model(name, pretrained=True)


@pytest.mark.real
def test_real_deit_tiny(shared_data):
    folder = shared_data / "deit_tiny_patch16_224"
    loaded = load_model(f"local-dir:{folder}")
    assert loaded.config.architecture == "deit_tiny_patch16_224"
    by_file = load_model("deit_tiny_patch16_224", checkpoint=folder / "model.safetensors")
    assert by_file.fingerprint == loaded.fingerprint
