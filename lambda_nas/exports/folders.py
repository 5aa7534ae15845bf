"""Folders that appear complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its name when the block succeeds.

    Raises:
        OSError: If ``path`` is a file or holds anything, or the place is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        # mkdtemp makes folders for the owner only.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        # Renaming onto an empty folder replaces it; onto a full one it fails.
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
