"""The script that trained the weights of the digits ViT; a short training of it."""

import pytest
import torch
import train_vit

from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.training.evaluation import evaluate


@pytest.mark.full
def test_trains_what_the_package_ships():
    digits = digits_images()
    model = train_vit.train_digits_vit(digits.training, epochs=2)
    assert not model.training
    assert evaluate(model, digits.evaluation).top1 > 0.2
    shapes = {name: tensor.shape for name, tensor in digits_model().model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


def test_shifts_move_whole_images(monkeypatch):
    monkeypatch.setattr(train_vit, "SHIFT_PROBABILITY", 1.0)
    images = torch.zeros(200, 1, 8, 8)
    images[:, :, 3, 4] = 1
    shifted = train_vit.shifted(images, 0.0, torch.Generator().manual_seed(0))
    assert shifted.shape == images.shape
    assert torch.equal(shifted.sum((1, 2, 3)), torch.ones(200))
    places = {tuple(place) for place in shifted[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}
