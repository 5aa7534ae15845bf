import torch

from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.training.evaluation import evaluate


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


def test_weights_come_with_the_package():
    digits = digits_model()
    assert (digits.name, digits.config.architecture) == ("digits_vit", "digits_vit")
    assert not digits.model.training
    # The accuracy of studies/digits; one image of 540 may fall the other way elsewhere.
    right = evaluate(digits.model, digits_images().evaluation).top1 * 540
    assert abs(right - 519) < 1.5
