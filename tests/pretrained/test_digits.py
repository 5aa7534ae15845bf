import pytest
import torch

from lambda_nas.errors import InputError
from lambda_nas.pretrained import digits
from lambda_nas.pretrained.digits import digits_images, digits_model


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(digits, "EPOCHS", 1)


def no_training(done, total):
    raise AssertionError("trained although cached")


def test_images():
    data = digits_images()
    assert data.training.images.shape == (1257, 1, 8, 8)
    assert data.evaluation.images.shape == (540, 1, 8, 8)
    assert len(data.calibration) == 256
    assert int(data.training.images.max()) == 240
    for part in (data.calibration, data.training, data.evaluation):
        counts = torch.bincount(part.labels)
        assert counts.max() - counts.min() <= 12
    pixels = next(data.training.batches(1257))[0]
    assert abs(float(pixels.mean())) < 0.05
    assert abs(float(pixels.std()) - 1) < 0.05


def test_shifts_move_whole_images(monkeypatch):
    monkeypatch.setattr(digits, "SHIFT_PROBABILITY", 1.0)
    images = torch.zeros(200, 1, 8, 8)
    images[:, :, 3, 4] = 1
    shifted = digits._shifted(images, 0.0, torch.Generator().manual_seed(0))
    assert shifted.shape == images.shape
    assert torch.equal(shifted.sum((1, 2, 3)), torch.ones(200))
    places = {tuple(place) for place in shifted[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}


def test_first_use_trains_and_the_second_loads(tmp_path, brief):
    steps, threads = [], torch.get_num_threads()
    first = digits_model(digits_images(), cache=tmp_path, on_step=lambda *s: steps.append(s))
    assert steps == [(done, 20) for done in range(1, 21)]
    assert (first.name, first.config.architecture) == ("digits_vit", "digits_vit")
    assert not first.model.training
    assert torch.get_num_threads() == threads
    assert [path.name for path in tmp_path.iterdir()] == [f"digits_vit-{digits.RECIPE}"]
    second = digits_model(digits_images(), cache=tmp_path, on_step=no_training)
    assert second.fingerprint == first.fingerprint


def test_a_corrupt_cache_is_trained_again(tmp_path, brief):
    first = digits_model(digits_images(), cache=tmp_path)
    for damage in (b"", b"broken"):
        (tmp_path / f"digits_vit-{digits.RECIPE}" / "model.safetensors").write_bytes(damage)
        assert digits_model(digits_images(), cache=tmp_path).fingerprint == first.fingerprint


def test_a_cache_that_can_not_be_written(tmp_path, brief):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write the model cache .*file"):
        digits_model(digits_images(), cache=tmp_path / "file", on_step=no_training)
