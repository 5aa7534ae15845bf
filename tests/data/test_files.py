import os

import pytest

from lambda_nas.data.files import find_images
from lambda_nas.errors import InputError


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_images_are_found_in_natural_order(tmp_path):
    names = ["b/10.png", "b/9.jpeg", "a-b/1.TIF", "a/1.webp", "a/x²3.bmp", "a/01.tiff", "A/1.JPG"]
    found = find_images(put(tmp_path, *names))
    # Equal without case and leading zeros: in the order of their bytes.
    ties = ("A/1.JPG", "a/01.tiff", "a/1.webp")
    assert found.images == ("a-b/1.TIF", *ties, "a/x²3.bmp", "b/9.jpeg", "b/10.png")
    assert found.left_out() == ""


def test_what_is_left_out_is_counted_and_named(tmp_path):
    put(tmp_path, "a/1.png", "a/1.gif", "a/2.gif", "notes.txt", "a/LICENSE")
    put(tmp_path, ".DS_Store", "__MACOSX/a/._1.png", "a/._1.png", ".cache/x.png", "@eaDir/1.jpg")
    put(tmp_path, "stray.png")
    found = find_images(tmp_path)
    assert found.images == ("a/1.png",)
    assert found.left_out() == (
        "1 image in no class folder (stray.png), 4 files of other types (2 .gif, 1 no suffix, "
        "1 .txt: a/1.gif, a/2.gif, a/LICENSE, ...), 5 hidden entries (.cache, .DS_Store, "
        "@eaDir, ...)"
    )


def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere", "1.png")
    put(tmp_path / "data", "b/2.png")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "b" / "self").symlink_to("self")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "gone")
    found = find_images(tmp_path / "data")
    assert found.images == ("a/1.png", "b/2.png")
    assert found.left_out() == (
        "2 unreadable folders (b/self (broken link), c (broken link)), "
        "1 link to a folder above it (a/up)"
    )


def test_names_that_no_terminal_prints(tmp_path):
    (tmp_path / "a").mkdir()
    names = [b"\xff.png", b"new\nline.gif", b"\x1b[31m.gif"]
    for name in names:
        (tmp_path / "a" / os.fsdecode(name)).touch()
    found = find_images(tmp_path)
    assert found.images == ("a/\udcff.png",)
    assert found.left_out() == r"2 files of other types (2 .gif: a/\x1b[31m.gif, a/new\nline.gif)"


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"^data .*1\.png: can't be read \(Not a directory\)"):
        find_images(put(tmp_path, "1.png") / "1.png")
