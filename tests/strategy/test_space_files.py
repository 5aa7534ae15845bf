import pytest
import timm
import torch

from lambda_nas.errors import InputError
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import check_removal, removable_layers
from lambda_nas.strategy.space_files import load_space, shipped_spaces


def written(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    return str(tmp_path / "space.yaml")


def test_shipped_spaces():
    spaces = {name: load_space(name) for name in shipped_spaces()}
    assert {
        "deit3_base",
        "vit_augreg_small",
        "dinov2_small",
        "swin_tiny",
        "caformer_s18",
    } < spaces.keys()
    assert all(space.name == name for name, space in spaces.items())
    assert spaces["deit_base"].seeds["paper-50"] == [0, 1, 3, 4, 6, 9]
    assert spaces["deit_tiny"].seeds == {"paper-25": [0, 2, 4], "paper-30": [0, 2, 4, 6]}
    assert spaces["deit_tiny"].model == "deit_tiny_patch16_224.fb_in1k"
    assert (spaces["digits"].model, spaces["digits"].removable) == ("digits_vit", "all")


@pytest.mark.parametrize("name", shipped_spaces())
def test_a_shipped_space_fits_its_model(name):
    space = load_space(name)
    with torch.device("meta"):
        model = timm.create_model(space.model)
    for seed in space.seeds.values():
        check_removal(model, RemovalSet.of(seed))
    assert space.max_removed < len(removable_layers(model))


def test_a_file(tmp_path):
    space = load_space(written(tmp_path, "name: mine\nremovable: [1, 2]\nmax_removed: 1\n"))
    assert (space.name, space.model, space.removable) == ("mine", None, [1, 2])
    assert (space.max_removed, space.seeds) == (1, {})


def test_ways_to_merge_tokens(tmp_path):
    space = load_space(written(tmp_path, "name: a\ntome_r: [8, 4]\ntome_start: [0, 3]\n"))
    assert space.mergings == (Merging(4), Merging(4, 3), Merging(8), Merging(8, 3))
    assert load_space(written(tmp_path, "name: a\ntome_r: [8]\n")).mergings == (Merging(8),)
    assert load_space(written(tmp_path, "name: a\n")).mergings == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tome_r: [8, 0]", r"line 2, tome_r\.1: Input should be greater than or equal to 1"),
        ("tome_r: [8]\ntome_start: [-1]", r"line 3, tome_start\.0: "),
        ("tome_r: [8]\ntome_start: []", "line 3, tome_start: .*name at least one block"),
        ("tome_start: [3]", "line 2, tome_start: .*tome_r is missing"),
    ],
)
def test_what_is_no_way_to_merge_tokens(tmp_path, text, problem):
    with pytest.raises(InputError, match=problem):
        load_space(written(tmp_path, f"name: a\n{text}\n"))


def test_all_problems_are_reported_together(tmp_path):
    text = "removable: [0, -1, x]\nmax_removed: 0\nmaximum: 3\nseeds: {a: 7}\n"
    with pytest.raises(InputError, match=r"^space .*space\.yaml: line 1") as caught:
        load_space(written(tmp_path, text))
    for key in (
        "line 1, name: ",
        "line 1, removable.",
        "line 2, max_removed: ",
        "line 3, maximum: ",
        "line 4, seeds.a: ",
    ):
        assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nremovable: [1, 1]", "removable: .*a layer is named twice"),
        ("name: a\nremovable: []", "removable: .*name at least one layer, or write all"),
        ("name: a\nremovable: [1, 2]\nseeds: {b: [1, 3]}", r"seeds: .*'b' has layers .*\[3\]"),
        ("name: a\nmax_removed: 1\nseeds: {b: [1, 3]}", r"'b' has more layers than max_removed"),
        ("name: a\nmax_removed: '2'", "max_removed: "),
        ("name: a\nseeds:\n  b: [1]\n  c:\n  - 1\n  - x", r"line 6, seeds\.c\.1: "),
        ("- a", "must map keys to values"),
        ("a: [", ": not YAML "),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_space(written(tmp_path, text))


def test_absent():
    with pytest.raises(
        InputError, match=r"space deit_huge: there is no .* deit_tiny, deit_tiny_tome, digits"
    ):
        load_space("deit_huge")
