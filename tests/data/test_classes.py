import pickle

import pytest
from image_folders import fill, network
from timm.models import save_for_hf

from lambda_nas.data.classes import find_classes
from lambda_nas.data.image_folder import load_evaluation, load_images
from lambda_nas.errors import InputError
from lambda_nas.pretrained.loading import load_model

NUMBERS = tuple(str(number) for number in range(1, 13))
SEASONS = ("a/summer", "a/winter", "b/summer", "b/winter")


def labeled(names, **more):
    model = network(len(names))
    model.pretrained_cfg = {**model.pretrained_cfg, "label_names": names, **more}
    return model


def find(root, folders, model, *lines):
    """Return the reading, the used order, and the notes, with a class map if there are lines."""
    path = None
    if lines:
        path = root / "map.txt"
        path.write_text("\n".join(lines) + "\n")
    found = find_classes(root / "data", folders, model, path)
    return found.reading, found.order.names, found.notes


def test_without_names_the_natural_order_counts(tmp_path):
    assert find(tmp_path, NUMBERS[::-1], network(12)) == ("last", NUMBERS, ())


def test_the_model_says_its_order(tmp_path):
    root = fill(tmp_path / "data", classes=NUMBERS, per_class=2)
    model = labeled(tuple(sorted(NUMBERS)))
    arguments = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
    save_for_hf(
        model,
        str(tmp_path / "model"),
        model_config={"label_names": sorted(NUMBERS)},
        model_args={**arguments, "num_classes": 12},
        safe_serialization=True,
    )
    loaded = load_model(f"local-dir:{tmp_path / 'model'}").model
    images, notes, _ = load_evaluation(root, loaded)
    expected = [sorted(NUMBERS).index(name) for name in NUMBERS for _ in range(2)]
    assert images.labels.tolist() == expected
    assert notes[0] == "which output is which class: by the model's label_names"
    assert load_images(root, loaded).notes[1] == notes[0]


def test_other_forms_of_label_names(tmp_path):
    folders = ("ant", "bee", "cat")
    for names in (["cat", "ant", "bee"], {"1": "ant", "0": "cat", "2": "bee"}):
        assert find(tmp_path, folders, labeled(names))[1] == ("cat", "ant", "bee")
    described = {"n3": "cat", "n1": "ant", "n2": "bee"}
    model = labeled(["n3", "n1", "n2"], label_descriptions=described)
    assert find(tmp_path, folders, model)[1] == ("cat", "ant", "bee")
    # Of folders for some of the classes, too.
    assert find(tmp_path, folders[:2], model)[1] == ("cat", "ant", "bee")


@pytest.mark.parametrize(
    "names", [["x", "y", "z"], ["cat", "ant"], ["cat", "ant", "ant"], 7, {"a": "cat"}, [1, 2, 3]]
)
def test_label_names_that_name_other_things_are_not_used(tmp_path, names):
    model = network(3)
    model.pretrained_cfg = {**model.pretrained_cfg, "label_names": names}
    _, order, (note,) = find(tmp_path, ("ant", "bee", "cat"), model)
    assert order == ("ant", "bee", "cat")
    assert note.startswith("the label_names of the model's config don't name these folders")


def test_nested_folders_with_names_of_their_own_are_read_as_in_timm(tmp_path):
    found = find(tmp_path, ("pets/cat", "pets/dog", "ant"), network(3))
    assert found == ("last", ("ant", "cat", "dog"), ())


def test_nested_folders_of_the_same_name_have_two_readings(tmp_path):
    message = (
        r"^data .*: 'summer' lies in several folders \(a/summer, b/summer\): if the last folder "
        r"names the class, as in timm, the classes are summer, winter; if the first does, as in "
        r"torchvision, a, b: name the classes .* with class_map FILE"
    )
    with pytest.raises(InputError, match=message):
        find(tmp_path, SEASONS, network(2))
    # The names decide.
    assert find(tmp_path, SEASONS, network(2), "b", "a")[:2] == ("first", ("b", "a"))
    reading, order, notes = find(tmp_path, SEASONS, network(2), "winter", "summer")
    assert (reading, order) == ("last", ("winter", "summer"))
    assert notes[-1] == ("folders of the same name are one class: 'summer' is a/summer, b/summer")
    assert find(tmp_path, SEASONS, labeled(["a", "b"]))[:2] == ("first", ("a", "b"))
    with pytest.raises(InputError, match="'summer' lies in several folders"):
        find(tmp_path, SEASONS, network(4), "a", "b", "summer", "winter")


def test_a_folder_of_images_in_each_class_folder(tmp_path):
    root = fill(tmp_path / "data", classes=("ant/images", "bee/images"), per_class=1)
    with pytest.raises(InputError, match=r"in timm, the classes are images; if the first"):
        load_evaluation(root, network(2))
    images, _, _ = load_evaluation(root, labeled(["bee", "ant"]))
    assert images.labels.tolist() == [1, 0]


def test_a_class_map_goes_before_the_models_names(tmp_path):
    found = find(tmp_path, ("ant", "bee"), labeled(["ant", "bee"]), "bee", "ant")
    assert found[1] == ("bee", "ant")
    assert found[2] == ()


def test_a_class_map_may_name_more_classes_than_there_are_folders(tmp_path):
    _, order, notes = find(tmp_path, ("ant", "bee"), network(4), "dog", "bee", "cat", "ant")
    assert order == ("dog", "bee", "cat", "ant")
    assert notes[-1] == "2 of the head's 4 classes have no folder: 'dog', 'cat'"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfbee\r\nant\r\ncat",
        b"bee\nant\ncat\n\n\n",
        b"bee\n ant\ncat \r\n",
        b"bee\rant\rcat\r",
    ],
)
def test_forms_of_a_class_map(tmp_path, content):
    (tmp_path / "map.txt").write_bytes(content)
    found = find_classes(tmp_path, ["ant", "bee", "cat"], network(3), tmp_path / "map.txt")
    assert found.order.names == ("bee", "ant", "cat")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("background", "ant", "bee", "cat"),
            r"4 names for the 3 outputs .*; 1 of its names is no folder: 'background': remove the "
            r"first line, 'background', if it is no class",
        ),
        (
            ("class", "ant", "bee"),
            r"it lacks 1 of the 3 classes below .*data: 'cat'; 1 of its names is no folder: "
            r"'class': remove the first line, 'class', if it is no class",
        ),
        (("ant", "bee"), r"2 names for the 3 outputs .*; it lacks 1 of the 3 classes .*: 'cat'$"),
        (("ant", "bee", "cat", "dog"), r"4 names for the 3 outputs .*; 1 of its .*: 'dog'$"),
        (("ant", "bee", "Cat"), r"it lacks 1 of the 3 .*: 'cat'; 1 of its names .*: 'Cat'$"),
        (("ant", "bee", "ant"), r"named more than once: 'ant'; expected each output's class once"),
        (("ant", "", "bee", "", "cat"), r"blank lines: 2, 4; expected each output's"),
        (("", "ant", "bee", "cat"), r"blank lines: 1; expected each output's class once"),
        (("", "", " "), r"names no class; expected each output's class once"),
    ],
)
def test_class_maps_that_do_not_fit(tmp_path, lines, message):
    with pytest.raises(InputError, match=rf"^class_map .*map\.txt: {message}"):
        find(tmp_path, ("ant", "bee", "cat"), network(3), *lines)


def test_class_maps_that_can_not_be_read(tmp_path):
    def read(path):
        find_classes(tmp_path, ["ant"], network(1), path)

    with pytest.raises(InputError, match=r"^class_map .*absent\.txt: there is no such file"):
        read(tmp_path / "absent.txt")
    for suffix in ("csv", "pkl"):
        other = tmp_path / f"map.{suffix}"
        other.write_bytes(pickle.dumps({"ant": 0}))
        with pytest.raises(InputError, match=rf"map\.{suffix}: not a \.txt file; expected"):
            read(other)
    (tmp_path / "map.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"map\.txt: can't be read"):
        read(tmp_path / "map.txt")


def test_orders_that_the_outputs_may_be_in(tmp_path):
    def origins(folders, model, *lines):
        path = None
        if lines:
            path = tmp_path / "map.txt"
            path.write_text("\n".join(lines))
        return {
            each.names: each.origin for each in find_classes(tmp_path, folders, model, path).orders
        }

    assert origins(("9", "10"), network(2)) == {
        ("9", "10"): "timm's natural order",
        ("10", "9"): "torchvision's order of the alphabet",
    }
    assert list(origins(("ant", "bee"), network(2))) == [("ant", "bee")]
    assert list(origins(("ant", "bee"), labeled(["bee", "ant"]))) == [
        ("bee", "ant"),
        ("ant", "bee"),
    ]
    # A header, where the folder holds only some of the classes.
    assert origins(("a", "b"), network(4), "class", "a", "b", "c") == {
        ("class", "a", "b", "c"): "the class map",
        ("a", "b", "c", "class"): "the class map without its first name",
    }
