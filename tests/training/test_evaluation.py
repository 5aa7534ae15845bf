"""Accuracy against a plain loop."""

import statistics

import pytest
import torch
from torch import nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import InputError, NonFiniteError
from lambda_nas.training.evaluation import Accuracy, compare, evaluate


def random_images(count, classes):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return ImageSet(pixels, labels, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


@pytest.mark.parametrize(("classes", "best"), [(9, 5), (3, 3)])
def test_against_a_plain_loop(make_vit, classes, best):
    model = make_vit(num_classes=classes, drop_rate=0.5).train()
    images = random_images(37, classes)
    found = evaluate(model, images, batch_size=10)
    assert not model.training
    top1 = top5 = 0
    for pixels, label in zip(images.images, images.labels, strict=True):
        mean, std = (torch.tensor(value)[:, None, None] for value in (images.mean, images.std))
        with torch.no_grad():
            logits = model(((pixels / 255 - mean) / std)[None])[0]
        ranking = logits.argsort(descending=True).tolist()
        top1 += ranking[0] == label
        top5 += label.item() in ranking[:best]
    assert found == Accuracy(top1=int(top1) / 37, top5=top5 / 37, images=37)
    assert 0 < found.top1 < found.top5


def test_a_change_has_its_paired_error(make_vit):
    images, one, other = random_images(41, 5), make_vit(seed=1), make_vit(seed=2)
    found = compare(one, other, images, batch_size=10)
    assert (found.accuracy, found.unpruned) == (evaluate(one, images), evaluate(other, images))
    gains = []
    for index in range(41):
        image = images.subset(torch.tensor([index]))
        gains.append(evaluate(one, image).top1 - evaluate(other, image).top1)
    assert found.change.top1 == pytest.approx(found.accuracy.top1 - found.unpruned.top1)
    assert found.change.stderr == pytest.approx(statistics.pstdev(gains) / 41**0.5)
    assert found.change.stderr > 0
    same = compare(one, one, images).change
    assert (same.top1, same.stderr) == (0, 0)


def test_progress_names_the_images_of_each_batch(make_vit):
    seen = []
    evaluate(make_vit(), random_images(23, 5), batch_size=10, on_batch=seen.append)
    assert seen == [10, 10, 3]


def test_outputs_that_are_not_finite(make_vit):
    model = make_vit()
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(NonFiniteError, match="outputs are not finite"):
        evaluate(model, random_images(4, 5))


def test_no_images(make_vit):
    with pytest.raises(InputError, match="no images to evaluate"):
        evaluate(make_vit(), random_images(4, 5).subset(torch.arange(0)))
