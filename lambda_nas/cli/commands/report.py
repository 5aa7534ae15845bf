"""``lambda-nas report``."""

from pathlib import Path
from typing import Annotated

import typer

from lambda_nas.cli import output
from lambda_nas.cli.options import DEFAULT_STORAGE, StorageOption, StudyArgument

EPILOG = """[bold]Example[/bold]

lambda-nas report deit_tiny-images --out report.html --png front.png
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=EPILOG)(report)


def report(
    study: StudyArgument,
    out: Annotated[Path, typer.Option(help="The page to write, .html.")],
    png: Annotated[
        Path | None, typer.Option(help="Write the front as an image, too: .png or .svg.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write a study as one page that needs no network.

    It says what was searched, what was found, and what to pick.
    """
    from lambda_nas.reporting import figures, page
    from lambda_nas.store.study_store import SqlStudyStore
    from lambda_nas.strategy.optuna_trials import count_stored

    store = SqlStudyStore.open(storage, create=False)
    found = store.load(study)
    with store.translated_errors():
        counts = count_stored(study, store.optuna)
    where = None if storage == DEFAULT_STORAGE else storage
    page.write(page.render(found, counts=counts, storage=where), out)
    output.note(f"wrote {out}")
    if png:
        figures.save(figures.front(found), png)
        output.note(f"wrote {png}")
