"""Folders that appear complete or not at all."""

import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its name when the block succeeds.

    Raises:
        OSError: If ``path`` is a file or holds anything, or the place is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`, which makes folders for the owner only.
    temporary = path.parent / f".{path.name}-{uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        _open_to_readers(temporary)
        # Renaming onto an empty folder replaces it; onto a full one it fails.
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open_to_readers(folder: Path) -> None:
    """Give all files the mode of new ones; safetensors makes its own for the owner only."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)
