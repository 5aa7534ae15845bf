"""What will be written is checked before any work, and nothing is left behind."""

import re
import shutil
from pathlib import Path

import pytest

from lambda_nas.errors import InputError
from lambda_nas.execution.places import bytes_in, check_file, check_room, check_writable


def test_a_folder_that_will_be_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "b"
    message = (
        f"^weights: the folder {re.escape(str(place))} can't be written .*file is not a folder"
    )
    with pytest.raises(InputError, match=message):
        check_writable(place, parameter="weights")


def test_a_file_system_that_takes_no_files():
    with pytest.raises(InputError, match=r"^the folder /proc/new can't be written \(.+\)$"):
        check_writable(Path("/proc/new"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/plot.html", "there is no folder .*missing$"),
        ("folder", "this is a folder$"),
    ],
)
def test_files(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"^plot .*{name}: {message}"):
        check_file(tmp_path / name, parameter="plot")
    check_file(tmp_path / "plot.html", parameter="plot")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_room(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "new", free // 2)
    with pytest.raises(InputError, match=r"^the disk of .*new has [\d.]+ GB left, and up to 9"):
        check_room(tmp_path / "new", 9 * 10**15)


def test_bytes_of_the_files_in_a_folder(tmp_path):
    assert bytes_in(tmp_path / "missing") == 0
    (tmp_path / "folder").mkdir()
    for name, size in {"a": 3, "b": 4}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert bytes_in(tmp_path) == 7
