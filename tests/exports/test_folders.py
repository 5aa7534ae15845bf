import pytest
import safetensors.torch
import torch

from lambda_nas.exports.folders import new_folder


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="stop"), new_folder(tmp_path / "out") as folder:  # noqa: PT012
        (folder / "half").write_text("x")
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_success_takes_the_name(tmp_path):
    with new_folder(tmp_path / "a" / "out") as folder:
        (folder / "whole").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "whole").read_text() == "x"
    assert len(list((tmp_path / "a").iterdir())) == 1
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "a" / "out"):
        pass


def test_others_may_read_it_as_the_umask_says(tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    with new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == plain.stat().st_mode


def test_files_that_were_made_for_the_owner_only_get_the_mode_of_their_neighbors(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "config.json").write_text("{}")
        safetensors.torch.save_file({"x": torch.ones(1)}, folder / "model.safetensors")
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    (tmp_path / "plain").touch()
    assert modes == {(tmp_path / "plain").stat().st_mode}
