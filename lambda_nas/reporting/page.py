"""The report: a study on one HTML page that works offline."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lambda_nas.errors import InputError
from lambda_nas.execution.places import check_file
from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import TrialCounts
from lambda_nas.reporting.figures import all_figures
from lambda_nas.reporting.formatting import (
    command,
    duration,
    export_command,
    megabytes,
    percent,
    printable,
    short_name,
    storage_hint,
)
from lambda_nas.reporting.glossary import COLUMNS, FIGURES
from lambda_nas.reporting.summary import summarize
from lambda_nas.reporting.trial_table import trial_rows


class Section(NamedTuple):
    """A figure on the page; ``json`` is safe inside a script element, ``facts`` is HTML."""

    title: str
    explanation: str
    facts: Markup
    height: int
    json: Markup


def render(
    study: StudyRecord, *, counts: TrialCounts | None = None, storage: str | None = None
) -> str:
    """Return the page.

    Args:
        study: The study to report on.
        counts: Counts of Optuna's trials, which include those that the prior rejected.
        storage: The database's URL for the commands; ``None`` for the default one.
    """
    environment = Environment(
        loader=PackageLoader("lambda_nas.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters |= {
        "duration": duration,
        "short_name": short_name,
        "percent": percent,
        "megabytes": megabytes,
    }
    return environment.get_template("report.html").render(
        study=study,
        info=study.info,
        summary=summarize(study),
        counts=counts,
        sections=[_section(title, figure) for title, figure in all_figures(study).items()],
        rows=trial_rows(study, storage),
        columns=COLUMNS,
        export=lambda trial: export_command(study.info.name, trial, storage),
        hint=storage_hint(storage),
        show=command("show", study.info.name, storage=storage),
        versions=_versions(study),
        plotly=Markup(get_plotlyjs()),
    )


def _shown(value: object) -> object:
    """Write what can't be seen as escapes, as on a terminal; our own HTML stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _section(title: str, figure: go.Figure) -> Section:
    """Split a figure: its title and line of facts become text of the page."""
    facts = figure.layout.title.subtitle.text or ""
    figure = go.Figure(figure).update_layout(title=None, margin_t=48)
    # The only character that could end the script element early.
    data = json.dumps(figure.to_plotly_json()).replace("<", "\\u003c")
    return Section(title, FIGURES[title], Markup(facts), figure.layout.height, Markup(data))


def _versions(study: StudyRecord) -> Mapping[int, str]:
    """Return the versions of each run in one line."""
    return {
        run.id: ", ".join(f"{name} {version}" for name, version in run.info.versions.items())
        for run in study.runs
    }


def check_target(path: Path) -> None:
    """Check that a page can be written, before it is made.

    Raises:
        InputError: If not.
    """
    if path.suffix not in (".html", ".htm"):
        raise InputError("the name must end in .html", parameter="out", value=path)
    check_file(path, parameter="out")


def write(page: str, path: Path) -> None:
    """Write a page, either completely or not at all.

    Raises:
        InputError: If the folder is missing or the file can't be written.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"can't be written ({error})", parameter="out", value=path) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
