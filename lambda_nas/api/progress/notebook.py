"""Progress in a notebook's cell."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from lambda_nas.api.progress.quiet import Quiet, ShownProgress
from lambda_nas.api.progress.terminal import note
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.front_table import BEST_HEAD, best_rows, html_table

REDRAWN_S = 0.25

Show = Callable[[str, str], None]
"""Puts a text, and the same in HTML, in the place of those before."""


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
