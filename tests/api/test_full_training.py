"""Checkpoints on disk; the long training itself is tested from the command line."""

import resource
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from lambda_nas.api import full_training
from lambda_nas.api.full_training import CheckpointFile, Schedule, train_fully
from lambda_nas.errors import InputError, LambdaNasError
from lambda_nas.models.removal import RemovalSet
from lambda_nas.training.config import Augmentation, Losses
from lambda_nas.training.dilution import dilute


def test_a_checkpoint_comes_back_and_a_later_one_replaces_it(tmp_path):
    file = CheckpointFile(tmp_path / "state.pt")
    assert file.load() is None
    for step in (100, 200):
        file.save({"step": step, "model": {"weight": torch.full((2,), float(step))}})
    checkpoint = file.load()
    assert checkpoint["step"] == 200
    assert torch.equal(checkpoint["model"]["weight"], torch.tensor([200.0, 200.0]))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"cos\nsystem\n(S'id'\ntR."])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"state\.pt can't be read: delete it to start over"):
        CheckpointFile(tmp_path / "state.pt").load()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    file = CheckpointFile(tmp_path / "state.pt")
    file.save({"step": 100})
    constraints = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, constraints[1]))
    try:
        with pytest.raises(LambdaNasError, match=r"can't write the checkpoint .*state\.pt"):
            file.save({"step": 200, "model": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, constraints)
    assert file.load() == {"step": 100}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_schedule_counts_steps_over_all_epochs():
    assert Schedule(epochs=3, batch_size=64).config(100, Losses(), natural=True).steps == 4
    assert Schedule(epochs=1, batch_size=64).config(10, Losses(), natural=True).steps == 1


@pytest.mark.parametrize(
    ("model", "expected"),
    [("vit", Augmentation(crop=0.7, hflip=0.5)), ("digits_vit", Augmentation())],
)
def test_natural_images_are_cropped_and_flipped(source, tmp_path, monkeypatch, model, expected):
    class BegunError(Exception):
        pass

    def begin(model, images, config, **_):
        assert config.augmentation == expected
        raise BegunError("training began")

    monkeypatch.setattr(full_training, "train", begin)
    named = replace(source.model, name=model)
    data = replace(source.data, training=source.data.calibration)
    with pytest.raises(BegunError, match="training began"):
        train_fully(
            replace(source, model=named, data=data),
            dilute(named.model, RemovalSet.of([1])),
            Schedule(epochs=1),
            checkpoints=CheckpointFile(tmp_path / "state.pt"),
            stage=lambda *_: nullcontext(lambda detail="": None),
        )
