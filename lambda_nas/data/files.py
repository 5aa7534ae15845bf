"""Finds the image files below a folder, and says what else lies there."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lambda_nas.errors import InputError

NAMED = 3
EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# What file managers, archives and file systems put beside a user's files.
SYSTEM = frozenset(
    {"$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", "lost+found"}
)
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class ImageFiles:
    """The entries below a folder, as paths relative to it, in natural order.

    Attributes:
        root: The folder.
        images: What is named as an image and lies in a folder below ``root``.
        stray: What is named as an image and lies in ``root`` itself, so that it has no class.
        other: Files of other types.
        hidden: Files and folders that are hidden or belong to the system.
        closed: Why a folder can't be listed, for each such folder.
        loops: Links to a folder that they lie in.
    """

    root: Path
    images: tuple[str, ...]
    stray: tuple[str, ...]
    other: tuple[str, ...]
    hidden: tuple[str, ...]
    closed: dict[str, str]
    loops: tuple[str, ...]

    def folders(self) -> list[str]:
        """Return the folder of each image, as a path relative to ``root``."""
        return [os.path.dirname(path) for path in self.images]

    def left_out(self) -> str:
        """Return counts and a few names of all that is not read, empty if there is nothing."""
        types = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in self.other)
        by_type = ", ".join(
            f"{count} {escape_line(name)}" for name, count in types.most_common(NAMED)
        )
        closed = [f"{path} ({reason})" for path, reason in self.closed.items()]
        kinds = (
            (closed, "unreadable folder", "unreadable folders", ""),
            (self.loops, "link to a folder above it", "links to a folder above them", ""),
            (self.stray, "image in no class folder", "images in no class folder", ""),
            (self.other, "file of another type", "files of other types", f"{by_type}: "),
            (self.hidden, "hidden entry", "hidden entries", ""),
        )
        return ", ".join(
            f"{len(paths)} {one if len(paths) == 1 else more} ({details}{name_some(paths)})"
            for paths, one, more, details in kinds
            if paths
        )


def find_images(root: Path) -> ImageFiles:
    """Walk a folder and the folders that it links to, opening no file.

    Raises:
        InputError: If ``root`` can't be listed.
    """
    images: list[str] = []
    other: list[str] = []
    hidden: list[str] = []
    closed: dict[str, str] = {}
    loops: list[str] = []
    # Each folder with the identities of those above it, to see when a link leads back up.
    folders: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
    while folders:
        folder, above = folders.pop()
        try:
            status = os.stat(root / folder)
            with os.scandir(root / folder) as scan:
                entries = list(scan)
        except OSError as error:
            closed[folder] = describe(error)
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            loops.append(folder)
            continue
        for entry in entries:
            path = os.path.join(folder, entry.name)
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or entry.name in SYSTEM:
                hidden.append(path)
            # Whatever else it is turns out when it is read, as for a broken image.
            elif suffix in EXTENSIONS:
                images.append(path)
            elif is_folder(entry):
                folders.append((path, (*above, identity)))
            elif not suffix and not os.path.exists(entry):
                closed[path] = "broken link"
            else:
                other.append(path)
    if "" in closed:
        raise InputError(f"can't be read ({closed['']})", parameter="data", value=root)
    inside = [path for path in images if os.path.dirname(path)]
    stray = [path for path in images if not os.path.dirname(path)]
    return ImageFiles(
        root,
        _in_order(inside),
        _in_order(stray),
        _in_order(other),
        _in_order(hidden),
        {path: closed[path] for path in _in_order(closed)},
        _in_order(loops),
    )


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one that can be followed."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def natural_key(path: str) -> list[str | int]:
    """Return the key of timm's order: without case, and with digits as numbers."""
    parts: list[str | int] = list(_DIGITS.split(path.lower()))
    parts[1::2] = map(int, parts[1::2])
    return parts


def describe(error: OSError) -> str:
    """Return the reason of an error without the path."""
    return error.strerror or str(error)


def escape_line(text: str) -> str:
    """Escape what a terminal can't print: control characters, bytes that are not UTF-8."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def name_some(names: Sequence[str]) -> str:
    """Return the first few names, separated by commas."""
    some = ", ".join(map(escape_line, names[:NAMED]))
    return some + (", ..." if len(names) > NAMED else "")


def _in_order(paths: Sequence[str] | dict[str, str]) -> tuple[str, ...]:
    # Names that differ only in case or leading zeros are equal by the key alone.
    return tuple(sorted(sorted(paths), key=natural_key))
