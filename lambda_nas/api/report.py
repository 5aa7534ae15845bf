"""Writes a study as one page (``lambda-nas report``)."""

from pathlib import Path

from lambda_nas.api.study import open_study
from lambda_nas.errors import Problems
from lambda_nas.reporting import figures, page
from lambda_nas.store import DEFAULT_STORAGE


def report(
    study: str,
    out: str | Path,
    *,
    image: str | Path | None = None,
    storage: str = DEFAULT_STORAGE,
) -> Path:
    """Write a study as one HTML page that needs no network.

    The page says what was searched, what was found, and which architecture to pick.

    Args:
        study: Name of the study.
        out: The page to write, ``.html``.
        image: Write the front as an image as well: ``.png`` or ``.svg``.
        storage: SQLAlchemy URL of the study database.

    Returns:
        The page.

    Raises:
        InputError: If the study is unknown or a file can't be written.
        StorageError: If the database is missing or can't be used.
    """
    problems = Problems()
    with problems.collected():
        page.check_target(Path(out))
    with problems.collected():
        if image is not None:
            figures.check_target(Path(image), parameter="image")
    problems.report()
    found = open_study(study, storage=storage)
    where = None if storage == DEFAULT_STORAGE else storage
    page.write(page.render(found.record, counts=found.counts, storage=where), Path(out))
    if image is not None:
        figures.save(found.plot(), Path(image), parameter="image")
    return Path(out)
