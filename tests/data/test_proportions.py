import pytest
import torch
from image_folders import fill, network, rows
from sklearn.datasets import load_digits

from lambda_nas.data.classes import count_per_class
from lambda_nas.data.image_folder import ImageLimits, load_evaluation, load_images
from lambda_nas.data.image_set import proportional_halves, proportional_order, stratified_order

DIGITS = ([489, 593, 1761, 508, 660], [1103, 637, 1386, 339, 261], 1436837397)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def labels_of(*sizes):
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def counts(labels, classes):
    return torch.bincount(labels, minlength=classes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(90, 10), (2, 3, 4, 5, 1), (1, 1, 1), (7,), (500, 2, 2, 2)])
def test_halves_hold_half_of_each_class(sizes, seed):
    labels = labels_of(*sizes)
    first, second = proportional_halves(labels, generator=generator(seed))
    assert torch.cat([first, second]).sort().values.tolist() == list(range(len(labels)))
    assert len(first) == len(labels) // 2
    difference = counts(labels[first], len(sizes)) - counts(labels[second], len(sizes))
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_every_prefix_holds_classes_in_their_proportions(seed):
    sizes = (600, 300, 90, 10)
    labels = labels_of(*sizes)
    order = proportional_order(labels, generator=generator(seed))
    assert order.sort().values.tolist() == list(range(1000))
    for length in (10, 100, 333, 900):
        shares = torch.tensor(sizes) * length / 1000
        assert (counts(labels[order[:length]], 4) - shares).abs().max() < 2


def test_a_sample_favors_neither_large_classes_nor_small_ones():
    labels = labels_of(3000, *[3] * 1000)
    order = proportional_order(labels, generator=generator())
    assert int((labels[order[:300]] == 0).sum()) == pytest.approx(150, abs=30)


def test_classes_of_equal_size_come_in_turn():
    labels = torch.arange(60) % 6
    order = proportional_order(labels, generator=generator(3))
    assert torch.equal(order, stratified_order(labels, generator=generator(3)))
    halves = proportional_halves(labels, generator=generator(3))
    assert torch.equal(torch.cat(halves), order)


def test_the_order_of_the_digits_stays():
    """Their ViT was trained on the first 1257 of it."""
    labels = torch.from_numpy(load_digits().target).to(torch.int64)
    order = stratified_order(labels, generator=generator())
    weighted = int((order * torch.arange(1, 1798)).sum())
    assert (order[:5].tolist(), order[1255:1260].tolist(), weighted) == DIGITS


def test_an_unbalanced_folder_stays_so_in_both_halves(tmp_path):
    root = fill(tmp_path / "data", classes=("healthy", "sick"), per_class=(36, 4))
    data = load_images(root, network(2))
    assert counts(data.calibration.labels, 2).tolist() == [18, 2]
    assert counts(data.evaluation.labels, 2).tolist() == [18, 2]
    assert not rows(data.calibration) & rows(data.evaluation)
    assert data.notes[1] == (
        "images per class: calibration healthy 18, sick 2; evaluation healthy 18, sick 2"
    )
    _, notes, _ = load_evaluation(root, network(2))
    assert notes == ("images per class: healthy 36, sick 4",)


def test_limits_keep_the_proportions(tmp_path):
    fill(tmp_path / "train", classes=("healthy", "sick"), per_class=(10, 30))
    fill(tmp_path / "val", classes=("healthy", "sick"), per_class=(36, 4), seed=1)
    limits = ImageLimits(calibration=8, training=20, evaluation=20)
    data = load_images(tmp_path, network(2), limits=limits)
    assert counts(data.calibration.labels, 2).tolist() == [2, 6]
    assert counts(data.training.labels, 2).tolist() == [5, 15]
    assert counts(data.evaluation.labels, 2).tolist() == [18, 2]


def test_many_classes_are_told_in_short():
    classes = {f"class{index}": index for index in range(8)}
    names = list(classes)[:7]
    assert count_per_class(torch.arange(14) % 7, classes, names) == "2 in each of 7 classes"
    assert count_per_class(torch.arange(10), classes | {"x": 9}, names) == "1 in each of 7 classes"
    assert count_per_class(torch.arange(3), classes, names) == "0 to 1 in each of 7 classes"


def test_a_search_needs_training_images_beside_evaluation_images(tmp_path):
    fill(tmp_path / "val", per_class=2)
    with pytest.raises(ValueError, match=r"holds val/ but no training images; expected one folder"):
        load_images(tmp_path, network())
    images, _, _ = load_evaluation(tmp_path, network())
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
