"""What can't be read is told by every command that reads images."""

import os

import pytest
import torch
from image_folders import fill, network
from timm.models import save_for_hf

SIZE = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize("command", [("eval", "--trust-classes"), ("prior", "--model")])
def test_commands_tell_what_they_do_not_read(lambda_nas, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_for_hf(network(), "model", model_args=SIZE)
    fill(tmp_path / "images", per_class=10)
    os.mkfifo("images/ant/pipe.png")
    (tmp_path / "images" / "bee" / os.fsdecode(b"\xff.jpg")).write_text("no image")
    (tmp_path / "images" / "notes.txt").touch()
    code, _, err = lambda_nas(*command, "local-dir:model", "--data", "images")
    assert code == 0
    assert "not read below images: 1 file of another type (1 .txt: notes.txt)" in err
    assert (
        "2 of 32 images below images: ant/pipe.png (not a file), bee/\\udcff.jpg (not an image)"
    ) in err
