import numpy as np
import pytest
import timm
import torch
from image_folders import CLASSES, fill, network, rows
from PIL import Image
from timm.data import create_dataset, create_transform, resolve_model_data_config

from lambda_nas.data.image_folder import ImageLimits, load_evaluation, load_images
from lambda_nas.errors import InputError


def per_class(images):
    return torch.bincount(images.labels, minlength=3).tolist()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_plain_folder_is_split_in_stratified_halves(tmp_path):
    data = load_images(fill(tmp_path / "data"), network())
    assert per_class(data.calibration) == per_class(data.evaluation) == [4, 4, 4]
    assert not rows(data.calibration) & rows(data.evaluation)
    assert len(rows(data.calibration) | rows(data.evaluation)) == 24
    assert data.training is None
    assert "no train/ and val/ below" in data.notes[0]
    assert "12 calibration and 12 evaluation images; training is off" in data.notes[0]


def test_one_image_a_class_is_split_at_random(tmp_path):
    fill(tmp_path / "data", per_class=1, classes=("a", "b", "c", "d"))
    data = load_images(tmp_path / "data", network(4))
    assert sorted([*data.calibration.labels.tolist(), *data.evaluation.labels.tolist()]) == [
        0,
        1,
        2,
        3,
    ]
    assert len(data.calibration) == len(data.evaluation) == 2


def test_limits_of_halves(tmp_path):
    limits = ImageLimits(half=3, evaluation=6)
    data = load_images(fill(tmp_path / "data"), network(), limits=limits)
    assert per_class(data.calibration) == [1, 1, 1]
    assert per_class(data.evaluation) == [2, 2, 2]


@pytest.mark.parametrize("val", ["val", "validation"])
def test_train_and_val_are_used_as_such(tmp_path, val):
    train = fill(tmp_path / "data" / "train", per_class=6)
    fill(tmp_path / "data" / val, per_class=2, seed=1)
    data = load_images(tmp_path / "data", network(), limits=ImageLimits(calibration=3, training=9))
    assert per_class(data.calibration) == [1, 1, 1]
    assert per_class(data.training) == [3, 3, 3]
    assert per_class(data.evaluation) == [2, 2, 2]
    assert rows(data.calibration) <= rows(data.training)
    assert not rows(data.evaluation) & rows(data.training)
    assert data.notes == (
        f"training on 9 of 18 images of {train}",
        "images per class: calibration ant 1, bee 1, cat 1; training ant 3, bee 3, cat 3; "
        "evaluation ant 2, bee 2, cat 2",
    )
    assert f"evaluation images of {val}" in data.description


def test_val_may_lack_classes_of_train_but_not_add_any(tmp_path):
    fill(tmp_path / "data" / "train", per_class=2)
    fill(tmp_path / "data" / "val", per_class=2, classes=("cat",))
    assert load_images(tmp_path / "data", network()).evaluation.labels.tolist() == [2, 2]
    images, _, _ = load_evaluation(tmp_path / "data", network())
    assert images.labels.tolist() == [2, 2]
    fill(tmp_path / "data" / "val" / "more", per_class=1, classes=("dog",))
    with pytest.raises(
        InputError, match=r"^data .*val: 1 of the 2 classes have no training images: 'dog'"
    ):
        load_images(tmp_path / "data", network())


def test_the_seed_decides(tmp_path):
    root = fill(tmp_path / "data")
    first, again, other = (load_images(root, network(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.calibration.images, again.calibration.images)
    assert first.fingerprint == again.fingerprint
    assert rows(first.calibration) != rows(other.calibration)
    assert first.fingerprint != other.fingerprint


def test_the_fingerprint_sees_limits_classes_and_order(tmp_path):
    root = fill(tmp_path / "data")
    (tmp_path / "map.txt").write_text("cat\nbee\nant\n")
    seen = {load_images(root, network()).fingerprint}
    seen.add(load_images(root, network(), limits=ImageLimits(half=2)).fingerprint)
    seen.add(load_images(root, network(), class_map=tmp_path / "map.txt").fingerprint)
    (root / "ant" / "0.png").rename(root / "ant" / "x.png")
    seen.add(load_images(root, network()).fingerprint)
    assert len(seen) == 4


def test_tensors_equal_timms_own_pipeline(tmp_path):
    root, model = fill(tmp_path / "data"), network()
    images, notes, _ = load_evaluation(root, model)
    config = resolve_model_data_config(model) | {"input_size": (3, 16, 16)}
    theirs = create_dataset("", root=str(root), transform=create_transform(**config))
    ours, labels = next(images.batches(len(images)))
    assert torch.allclose(ours, torch.stack([image for image, _ in theirs]), atol=1e-5)
    assert labels.tolist() == [label for _, label in theirs]
    assert len(notes) == 1


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_images_are_resized_as_the_models_config_says(tmp_path, interpolation):
    root, model = fill(tmp_path / "data", per_class=1), network()
    model.pretrained_cfg = {**model.pretrained_cfg, "interpolation": interpolation}
    images, _, _ = load_evaluation(root, model)
    for name, image in zip(CLASSES, images.images, strict=True):
        # 16 is 90% of the short side.
        with Image.open(root / name / "0.png") as original:
            resized = original.resize((17, 20), Image.Resampling[interpolation.upper()])
        expected = np.asarray(resized.crop((0, 2, 16, 18)))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_progress(tmp_path):
    fill(tmp_path / "data" / "train", per_class=2)
    fill(tmp_path / "data" / "val", per_class=1)
    steps = []
    load_images(tmp_path / "data", network(), on_image=lambda *step: steps.append(step))
    assert steps == [(done, 9) for done in range(1, 10)]


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", ".png"), ("RGBA", ".png"), ("CMYK", ".jpg"), ("RGB", ".jpg")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_modes(tmp_path, mode, suffix, channels):
    root = fill(tmp_path / "data", per_class=2, mode=mode, suffix=suffix)
    images, notes, _ = load_evaluation(root, network(in_chans=channels))
    assert images.images.shape == (6, channels, 16, 16)
    assert len(images.mean) == len(images.std) == channels
    assert len(notes) == 1


def test_unreadable_images_are_skipped_and_named(tmp_path):
    root = fill(tmp_path / "data", per_class=20, suffix=".jpg")
    truncate(root / "bee" / "3.jpg")
    (root / "cat" / "5.jpg").write_bytes(b"")
    images, notes, _ = load_evaluation(root, network())
    assert per_class(images) == [20, 19, 19]
    assert notes[0] == "images per class: ant 20, bee 19, cat 19"
    start = f"skipped unreadable images, 2 of 60 images below {root}: bee/3.jpg ("
    assert notes[1].startswith(start)
    assert notes[1].endswith("), cat/5.jpg (empty)")
    data = load_images(root, network())
    assert len(data.calibration) + len(data.evaluation) == 58
    assert not rows(data.calibration) & rows(data.evaluation)


def test_a_file_that_can_not_be_opened_counts_as_unreadable(tmp_path):
    root = fill(tmp_path / "data", per_class=20)
    (root / "bee" / "3.png").unlink()
    (root / "bee" / "3.png").symlink_to(tmp_path / "gone.png")
    images, (_, note), _ = load_evaluation(root, network())
    assert len(images) == 59
    assert note.endswith("1 of 60 images below " + f"{root}: bee/3.png (No such file or directory)")


def test_too_many_unreadable_images(tmp_path):
    root = fill(tmp_path / "data", per_class=4, suffix=".jpg")
    for index in range(4):
        truncate(root / "ant" / f"{index}.jpg")
    message = r"^data .*: can't read 4 of 12 images: ant/0\.jpg \(.*\), ant/1\.jpg .*, \.\.\."
    with pytest.raises(InputError, match=message):
        load_evaluation(root, network())


def test_a_class_map_gives_the_heads_order(tmp_path):
    root = fill(tmp_path / "data", per_class=2)
    (tmp_path / "map.txt").write_text("dog\ncat\nbee\nant\n")
    images, _, _ = load_evaluation(root, network(4), class_map=tmp_path / "map.txt")
    assert images.labels.tolist() == [3, 3, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (2, "has 3 classes, but the model's head has 2: use a model trained on these"),
        (5, "has 3 classes, but the model's head has 5: name the .* with class_map FILE"),
    ],
)
def test_heads_that_do_not_fit(tmp_path, classes, message):
    with pytest.raises(InputError, match=message):
        load_images(fill(tmp_path / "data", per_class=2), network(classes))


def test_folders_without_images(tmp_path):
    with pytest.raises(InputError, match=r"^data .*absent: there is no such folder"):
        load_images(tmp_path / "absent", network())
    (tmp_path / "empty" / "ant").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images; expected one folder of images per"):
        load_images(tmp_path / "empty", network())
    fill(tmp_path / "single", per_class=1, classes=("ant",))
    with pytest.raises(InputError, match="single: holds one image, and a split needs two"):
        load_images(tmp_path / "single", network(1))


def test_channels_that_images_do_not_have(tmp_path):
    with pytest.raises(InputError, match="takes images of 4 channels; supported: 1 and 3"):
        load_images(fill(tmp_path / "data", per_class=2), network(in_chans=4))


@pytest.mark.real
@pytest.mark.full
def test_real_images(shared_data):
    model = timm.create_model(
        f"local-dir:{shared_data / 'deit_tiny_patch16_224'}", pretrained=True
    ).eval()
    data = load_images(
        shared_data / "imagenet500", model, class_map=shared_data / "imagenet_synsets.txt"
    )
    assert (len(data.calibration), len(data.evaluation)) == (250, 250)
    correct = 0
    with torch.inference_mode():
        for part in (data.calibration, data.evaluation):
            for images, labels in part.batches(50):
                correct += int((model(images).argmax(1) == labels).sum())
    assert correct == pytest.approx(0.764 * 500, abs=1)
