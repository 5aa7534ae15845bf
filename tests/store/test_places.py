"""Where the weights of studies lie, and that no study can have another's."""

from uuid import uuid4

import pytest
import safetensors.torch
import torch
from store_fixtures import weights_of

from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.weights import StudyWeights
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.store.urls import parse_url, weights_root
from lambda_nas.store.weights import load_weights

ONE = Architecture.of([0, 2])


@pytest.fixture
def make_weights(make_info, prices):
    def make(url, name="deit-images", root=None):
        with SqlStudyStore.open(url) as store:
            store.create_study(make_info(name, uuid=uuid4().hex), prices)
            return weights_of(store, name, root)

    return make


def save(weights, trial, value):
    weights.folder.mkdir(parents=True, exist_ok=True)
    tensors = {"x": torch.full((3,), float(value))}
    safetensors.torch.save_file(tensors, weights.file(trial), metadata=weights.label(trial, ONE))


def test_two_databases_with_a_study_of_the_same_name_keep_their_weights_apart(
    make_weights, tmp_path
):
    places = [make_weights(f"sqlite:///{tmp_path}/{name}.db") for name in ("a", "b")]
    for value, weights in enumerate(places):
        save(weights, 3, value)
    assert [load_weights(weights, 3, ONE)["x"][0] for weights in places] == [0, 1]
    # Nor are they mixed up below one root.
    first, second = (make_weights(f"sqlite:///{tmp_path}/{n}.db", root=tmp_path) for n in "cd")
    assert first.folder != second.folder


def test_weights_lie_beside_the_file_however_it_is_named(make_weights, tmp_path, monkeypatch):
    weights = make_weights(f"sqlite:///{tmp_path}/nas.db")
    assert weights.folder == tmp_path / "nas.db-weights" / f"deit-images-{weights.uuid[:12]}"
    (tmp_path / "link.db").symlink_to(tmp_path / "nas.db")
    monkeypatch.chdir(tmp_path)
    for other in ("nas.db", f"file:{tmp_path}/nas.db?mode=ro&uri=true", "link.db"):
        with SqlStudyStore.open(f"sqlite:///{other}") as store:
            assert weights_of(store, "deit-images") == weights


def test_files_whose_names_differ_in_the_ending_have_places_of_their_own():
    names = ("a.db", "a.sqlite", "a")
    assert len({weights_root(parse_url(f"sqlite:///{name}")) for name in names}) == len(names)


def test_a_server_is_the_same_whatever_it_is_called():
    urls = (
        "postgresql+psycopg://me:pass@localhost/nas",
        "postgresql+psycopg://127.0.0.1:5432/nas",
        "postgresql:///nas?host=/run/postgresql",
    )
    [root] = {weights_root(parse_url(url)) for url in urls}
    assert root != weights_root(parse_url("postgresql:///other"))


def test_databases_of_a_server_have_places_of_their_own(url, make_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = make_weights(url)
    assert weights.folder.is_relative_to(tmp_path)
    assert "pass" not in str(weights.folder)


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "..",
        ".",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "-rf",
        "x" * 240,
        "Ünï çødé 图",
        "a\nb",
        " ",
    ],
)
def test_a_study_stays_in_the_place_whatever_it_is_called(make_weights, tmp_path, name):
    weights = make_weights(f"sqlite:///{tmp_path}/nas.db", name, tmp_path / "weights")
    assert weights.folder.resolve().parent == tmp_path / "weights"
    assert weights.folder.name[0] not in ".-"
    assert weights.folder.name.isascii()
    assert "\n" not in weights.folder.name
    save(weights, 0, 0)
    assert load_weights(weights, 0, ONE)["x"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("uuid", "trial", "architecture", "message"),
    [
        ("f" * 32, 3, ONE, r"belong to another study \(f{32}\)$"),
        ("0" * 32, 4, ONE, r"are those of trial 4, 0,2, not of trial 3, 0,2$"),
        ("0" * 32, 3, Architecture.of([1]), r"are those of trial 3, 1, not of trial 3, 0,2$"),
    ],
)
def test_the_weights_of_anything_else_are_refused(tmp_path, uuid, trial, architecture, message):
    weights = StudyWeights(tmp_path, "0" * 32)
    label = StudyWeights(tmp_path, uuid).label(trial, architecture)
    safetensors.torch.save_file({"x": torch.ones(1)}, weights.file(3), metadata=label)
    with pytest.raises(InputError, match=message):
        load_weights(weights, 3, ONE)


def test_weights_without_a_label_are_refused(tmp_path):
    weights = StudyWeights(tmp_path, "0" * 32)
    safetensors.torch.save_file({"x": torch.ones(1)}, weights.file(3))
    with pytest.raises(InputError, match="don't say which study they belong to: an older"):
        load_weights(weights, 3, ONE)


@pytest.mark.parametrize("content", [b"", b"not weights" * 100, b"\xff" * 64])
def test_a_damaged_file_is_told_in_one_line(tmp_path, content):
    weights = StudyWeights(tmp_path, "0" * 32)
    weights.file(3).write_bytes(content)
    with pytest.raises(InputError, match=r"^the weights at .* can't be read \(.*\)$") as caught:
        load_weights(weights, 3, ONE)
    assert "\n" not in str(caught.value)
