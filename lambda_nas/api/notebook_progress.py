"""Progress where there is no terminal: in a notebook's cell, or none."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from html import escape
from typing import Any, Protocol

from lambda_nas.execution.progress import Progress
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.front_table import BEST_HEAD, best_rows, html_table

REDRAWN_S = 0.25

Show = Callable[[str, str], None]
"""Puts a text, and the same in HTML, in the place of those before."""


class ShownProgress(Progress, Protocol):
    """Progress that somebody looks at, and what else they have to be told."""

    def notes(self, texts: Iterable[str]) -> None:
        """Tell what is to know of the model and the images."""


class Quiet:
    """Says nothing but what went wrong."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Open a stage."""
        del label, total
        yield lambda: None

    def notes(self, texts: Iterable[str]) -> None:
        """Say nothing."""
        del texts

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Say nothing."""
        del counts, front

    def failed(self, architecture: Architecture, reason: str) -> None:
        """Log a failed trial as a warning."""
        logging.getLogger(__name__).warning("failed: %s: %s", architecture, reason)


class CellProgress(Quiet):
    """One place below a notebook's cell that is drawn anew, and empty at the end.

    It needs no widgets: those are a package more, and stay in the saved notebook as scripts.
    """

    def __init__(
        self,
        budget_trials: int | None,
        show: Show,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget_trials = budget_trials
        self._show = show
        self._clock = clock

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar; yields the function that advances it."""
        done, drawn_at = 0, self._clock()
        self._show(*_bar(label, 0, total))

        def advance() -> None:
            nonlocal done, drawn_at
            done += 1
            if self._clock() - drawn_at >= REDRAWN_S:
                drawn_at = self._clock()
                self._show(*_bar(label, done, total))

        yield advance

    def notes(self, texts: Iterable[str]) -> None:
        """Print the notes below the cell, where they stay."""
        from lambda_nas.api.terminal_progress import note

        for text in texts:
            note(text)

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show how many trials are completed, stopped, rejected and failed, and the front."""
        text, html = _bar(str(counts), counts.evaluated, self._budget_trials)
        self._show(text, html + html_table(BEST_HEAD, best_rows(front)))


def _bar(label: str, done: int, total: int | None) -> tuple[str, str]:
    if total is None:
        return label, f"<div>{escape(label)}</div>"
    bar = f'<progress value="{done}" max="{total}"></progress>'
    return f"{label} {done}/{total}", f"<div>{bar} {escape(label)} {done}/{total}</div>"


@contextmanager
def in_cell(budget_trials: int | None) -> Iterator[ShownProgress]:
    """Open a place below the cell that is run."""
    from IPython.display import display

    handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def show(text: str, html: str) -> None:
        handle.update({"text/plain": text, "text/html": html}, raw=True)

    try:
        yield CellProgress(budget_trials, show)
    finally:
        show("", "")


@contextmanager
def _quiet() -> Iterator[ShownProgress]:
    yield Quiet()


def progress_shown(
    *, visible: bool, budget_trials: int | None = None
) -> AbstractContextManager[ShownProgress]:
    """Return progress for where this is called: in a notebook, on a terminal, or none at all."""
    if not visible:
        return _quiet()
    if in_notebook():
        return in_cell(budget_trials)
    from lambda_nas.api.terminal_progress import SearchProgress

    return SearchProgress(budget_trials)


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
