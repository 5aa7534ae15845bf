"""Writes a study as one page (``lambda-nas report``)."""

from pathlib import Path

from lambda_nas.api.study import open_study
from lambda_nas.errors import Problems
from lambda_nas.reporting import figures, page
from lambda_nas.store.urls import storage_url


def report(
    study: str,
    out: str | Path,
    *,
    image: str | Path | None = None,
    storage: str | None = None,
) -> Path:
    """Write a study as one HTML page that needs no network.

    The page says what was searched, what was found, and which architecture to pick.

    Args:
        study: Name of the study.
        out: The page to write, ``.html``.
        image: Write the front as an image as well: ``.png`` or ``.svg``.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.

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
    rendered = page.render(found.record, counts=found.counts, storage=storage_url(storage))
    page.write(rendered, Path(out))
    if image is not None:
        figures.save(found.plot(), Path(image), parameter="image")
    return Path(out)
