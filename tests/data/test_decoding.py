import contextlib
import os
import shutil
import socket

import pytest
from image_folders import fill, network

from lambda_nas.data.image_folder import ImageLimits, load_evaluation, load_images, select_images
from lambda_nas.errors import InputError

ELEVEN = tuple("abcdefghijk")


@contextlib.contextmanager
def as_nobody():
    """Run without root's right to read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def fill_eleven(tmp_path):
    (tmp_path / "map.txt").write_text("\n".join(ELEVEN))
    return fill(tmp_path / "data", per_class=10, classes=ELEVEN)


def odd_entries(root):
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "b" / "gone.png").symlink_to("absent")
    (root / "c" / "self.png").symlink_to("self.png")
    (root / "d" / "folder.png").mkdir()
    (root / "e" / "null.png").symlink_to("/dev/zero")
    (root / "f" / "empty.bmp").touch()
    (root / "h" / os.fsdecode(b"\xff\n.tif")).write_text("no image")
    with contextlib.chdir(root / "g"), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.webp")


def test_no_entry_stops_or_holds_up_the_reading(tmp_path):
    root = fill_eleven(tmp_path)
    odd_entries(root)
    images, notes, _ = load_evaluation(root, network(11))
    assert len(images) == 110
    assert notes[-1] == (
        f"skipped unreadable images, 8 of 118 images below {root}: a/pipe.jpg (not a file), "
        "b/gone.png (No such file or directory), "
        "c/self.png (Too many levels of symbolic links), ..."
    )
    data = load_images(root, network(11))
    assert len(data.calibration) + len(data.evaluation) == 110
    assert "8 of 118 images" in data.notes[-1]


def test_names_that_are_not_utf_8_are_read_and_named(tmp_path):
    root = fill_eleven(tmp_path)
    shutil.copy(root / "a" / "1.png", root / "a" / os.fsdecode(b"\xff.png"))
    (root / "b" / os.fsdecode(b"\xfe.png")).write_text("no image")
    images, notes, _ = load_evaluation(root, network(11))
    assert len(images) == 111
    assert notes[-1].endswith(r"b/\udcfe.png (not an image)")


def test_images_that_vanish_after_they_were_chosen(tmp_path):
    root = fill_eleven(tmp_path)
    selection = select_images(root, network(11))
    (root / "c" / "4.png").unlink()
    assert "c/4.png (No such file or directory)" in selection.decode(None).notes[-1]
    shutil.rmtree(root)
    with pytest.raises(InputError, match=r"^data .*: can't read 110 of 110 images: "):
        selection.decode(None)


def test_folders_and_files_without_permission(tmp_path, monkeypatch):
    fill_eleven(tmp_path)
    # Relative, because what lies above the temporary folder is closed as well.
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    root = (tmp_path / "data").relative_to(tmp_path)
    (root / "b" / "1.png").chmod(0)
    (root / "k").chmod(0)
    class_map = (tmp_path / "map.txt").relative_to(tmp_path)
    closed = r"not read.*: 1 unreadable folder \(k \(Permission denied\)\)"
    with as_nobody():
        images, notes, _ = load_evaluation(root, network(11), class_map=class_map)
        with pytest.raises(InputError, match=rf"10 classes, but .* has 11 \({closed}\)"):
            load_evaluation(root, network(11))
    (root / "k").chmod(0o755)
    assert len(images) == 99
    assert "1 unreadable folder (k (Permission denied))" in notes[-2]
    assert notes[-1].endswith("1 of 100 images below data: b/1.png (Permission denied)")


def test_too_many_folders_without_permission(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    root = fill(tmp_path / "data").relative_to(tmp_path)
    (root / "bee").chmod(0)
    message = r"can't read 1 of 3 folders: bee \(Permission denied\)"
    with as_nobody(), pytest.raises(InputError, match=message):
        load_evaluation(root, network(2))
    (root / "bee").chmod(0o755)


def test_a_dataset_without_permission(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    root = fill(tmp_path / "data" / "below").relative_to(tmp_path)
    root.parent.chmod(0)
    message = r"can't be read \(Permission denied\)"
    for folder in (root, root.parent):
        with as_nobody(), pytest.raises(InputError, match=message):
            load_evaluation(folder, network())
    root.parent.chmod(0o755)


def test_names_times_and_places_are_not_in_the_fingerprint(tmp_path):
    root = fill(tmp_path / "data")
    first = load_images(root, network()).fingerprint
    os.utime(root / "ant" / "0.png", (0, 0))
    moved = shutil.move(root, tmp_path / "moved")
    (moved / "ant" / "0.png").rename(moved / "ant" / "00.png")
    (moved / "bee").rename(moved / "bug")
    assert load_images(moved, network()).fingerprint == first


def test_the_fingerprint_is_of_the_images_that_are_used(tmp_path):
    root = tmp_path / "data"
    fill(root / "train", per_class=4)
    fill(root / "val", per_class=1)
    limits = ImageLimits(calibration=2, training=3, evaluation=2)

    def fingerprint():
        return load_images(root, network(), limits=limits).fingerprint

    first = fingerprint()
    changed = {"train": 0, "val": 0}
    for part in changed:
        for path in sorted((root / part).glob("*/*.png")):
            content = path.read_bytes()
            # The last byte of a PNG's checksum, which decoding ignores.
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            changed[part] += fingerprint() != first
            path.write_bytes(content)
    assert changed == {"train": 3, "val": 2}
    assert fingerprint() == first
