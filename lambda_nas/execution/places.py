"""Checks of what will be written, before any work: whether it can be, and whether there is room."""

import errno
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lambda_nas.errors import InputError


def check_writable(folder: Path, *, parameter: str | None = None) -> None:
    """Check that files can be made in a folder, and leave it as it is.

    A folder that does not exist will be made: the nearest one above it counts.

    Args:
        folder: The folder.
        parameter: The parameter that it was given as.

    Raises:
        InputError: If not.
    """
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise InputError(
            f"the folder {folder} can't be written ({error.strerror or error})",
            parameter=parameter,
        ) from error


def check_file(path: Path, *, parameter: str) -> None:
    """Check that a file can be written, and leave it as it is.

    Args:
        path: The file; its folder must exist.
        parameter: The parameter that it was given as.

    Raises:
        InputError: If not.
    """
    if not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
        raise InputError(problem, parameter=parameter, value=path)
    if path.is_dir():
        raise InputError("this is a folder", parameter=parameter, value=path)
    check_writable(path.parent, parameter=parameter)


def check_room(folder: Path, needed_bytes: int) -> None:
    """Check that a disk has room.

    Raises:
        InputError: If not; says what is needed and what is free.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if free < needed_bytes:
        raise InputError(
            f"the disk of {folder} has {free / 1e9:.1f} GB left, and up to "
            f"{needed_bytes / 1e9:.1f} GB will be written",
            advice="make room, or choose another place",
        )


def bytes_in(folder: Path) -> int:
    """Return the size of the files in a folder, which need not exist."""
    size = 0
    for file in folder.glob("*"):
        # A search that is running may delete one meanwhile.
        with suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists.

    Raises:
        OSError: If something on the way is not a folder.
    """
    for place in (folder, *folder.absolute().parents):
        if place.is_dir():
            return place
        if place.exists() or place.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a folder")
    raise FileNotFoundError(errno.ENOENT, f"{folder} has no folder above it")
