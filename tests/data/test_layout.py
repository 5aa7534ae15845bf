import pytest
from image_folders import fill

from lambda_nas.data.layout import find_layout
from lambda_nas.errors import InputError


def make(root, *paths):
    """Make a folder with an empty file of each path: what counts here are names."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def find(root, *paths):
    layout = find_layout(make(root, *paths))
    parts = (layout.train, layout.evaluation)
    return tuple(part and str(part.relative_to(root)) for part in parts), layout.notes


@pytest.mark.parametrize(
    ("train", "evaluation"),
    [
        ("train", "val"),
        ("Train", "Val"),
        ("TRAIN", "VALIDATION"),
        ("training", "validation"),
        ("training", "Testing"),
        ("train", "valid"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "evaluation"),
        ("train", "test"),
    ],
)
def test_known_spellings(tmp_path, train, evaluation):
    found = find(tmp_path, f"{train}/a/1.png", f"{train}/b/1.png", f"{evaluation}/a/2.JPG")
    assert found == ((train, evaluation), ())


@pytest.mark.parametrize(
    ("evaluation", "used"),
    [(("test", "val"), "val"), (("dev", "Valid", "TEST"), "Valid"), (("eval", "test"), "eval")],
)
def test_of_several_the_validation_images_are_used_and_the_rest_is_told(tmp_path, evaluation, used):
    paths = [f"{name}/a/1.png" for name in ("train", *evaluation)]
    parts, (note,) = find(tmp_path, *paths)
    assert parts == ("train", used)
    assert note.startswith(f"accuracy is measured on {used}/ below {tmp_path}; left alone: ")
    assert all(f"{name}/" in note.partition("left alone")[2] for name in evaluation if name != used)


def test_test_images_without_classes_and_other_folders_are_left_alone(tmp_path):
    parts, (note,) = find(
        tmp_path, "train/a/1.png", "val/a/1.png", "test/1.png", "extra/a/1.png", "meta/about.txt"
    )
    assert parts == ("train", "val")
    assert note.endswith("left alone: extra/, test/")


@pytest.mark.parametrize(
    "paths",
    [
        ("bus/1.png", "car/1.png"),
        ("a/b/1.png", "c/1.png"),
        ("bus/1.png", "train/1.png"),
        ("exam/1.png", "quiz/1.png", "test/1.png", "test/more/1.png"),
        ("bus/1.png", "val/readme.txt", ".train/a/1.png"),
        ("notes.txt",),
    ],
)
def test_folders_of_classes_one_of_which_may_be_called_train(tmp_path, paths):
    assert find(tmp_path, *paths) == ((None, None), ())


def test_a_stray_picture_does_not_make_a_split_a_class(tmp_path):
    paths = ("train/a/1.png", "train/stray.png", "val/a/1.png", "val/stray.png")
    assert find(tmp_path, *paths) == (("train", "val"), ())


def test_evaluation_images_alone(tmp_path):
    assert find(tmp_path, "val/a/1.png", "docs/readme.txt") == ((None, "val"), ())


@pytest.mark.parametrize(
    ("paths", "seen"),
    [
        (("train/a/1.png",), "train/, and it isn't clear which images accuracy"),
        (("train/a/1.png", "test/1.png"), "train/, test/, and it isn't clear which images acc"),
        (("train/a/1.png", "held_out/a/1.png"), "train/, held_out/, and it isn't clear which"),
        (("Train/a/1.png", "training/a/1.png", "val/a/1.png"), "Train/, training/, and it isn't"),
        (("val/a/1.png", "train2/a/1.png"), "val/, train2/, and it isn't clear which images are"),
        (("bus/1.png", "car/1.png", "test/bus/1.png"), "test/, bus/, car/, and it isn't clear"),
        (("train/1.png", "test/1.png"), "test/, train/, but no class folders in them"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_was_seen(tmp_path, paths, seen):
    expected = r".*; expected one folder of images per class, or train/ .* beside one of val/, val"
    with pytest.raises(InputError, match=rf"^data .*: holds {seen}{expected}"):
        find(tmp_path, *paths)


def test_the_way_out_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"to use train/ alone, give {tmp_path}/train$"):
        find_layout(fill(tmp_path / "train", per_class=1).parent)


def test_many_folders_are_not_all_named(tmp_path):
    paths = ("test/a/1.png", *(f"class{index}/1.png" for index in range(9)))
    with pytest.raises(InputError, match=r"holds test/, class0/, .*class4/, \.\.\., and it isn't"):
        find(tmp_path, *paths)


def test_an_absent_folder(tmp_path):
    with pytest.raises(InputError, match=r"^data .*absent: there is no such folder$"):
        find_layout(tmp_path / "absent")
