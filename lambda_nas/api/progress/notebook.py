"""Progress in a notebook's cell."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from lambda_nas.api.progress.console import note
from lambda_nas.api.progress.quiet import Quiet, ShownProgress
from lambda_nas.api.progress.status import Status
from lambda_nas.execution.progress import Advance, Event
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.formatting import printable
from lambda_nas.reporting.front_table import SHORT_HEAD, html_table, short_rows

REDRAWN_S = 0.25

Show = Callable[[str, str], None]
"""Puts a text, and the same in HTML, in the place of those before."""


class CellProgress(Quiet):
    """One place below a notebook's cell that is drawn anew, and empty at the end.

    It needs no widgets: those are a package more, and stay in the saved notebook as scripts.
    """

    def __init__(self, show: Show, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._status = Status(clock)

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Show a bar; yields the function that advances it."""
        with self._status.stage(label, total) as stage:
            self._draw()
            drawn_at = self._clock()

            def advance(detail: str = "") -> None:
                nonlocal drawn_at
                stage.advance(detail)
                if self._clock() - drawn_at >= REDRAWN_S:
                    drawn_at = self._clock()
                    self._draw()

            yield advance

    def notes(self, texts: Iterable[str]) -> None:
        """Print the notes below the cell, where they stay."""
        for text in texts:
            note(text)

    def tell(self, event: Event) -> None:
        """Show an event; a failed trial is logged, too, where it stays."""
        super().tell(event)
        self._status.tell(event)
        self._draw()

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show how many trials are completed, stopped, rejected and failed, and the front."""
        self._status.trials(counts, front)
        self._draw()

    def _draw(self) -> None:
        status, stage, bars = self._status, self._status.current, []
        if stage is not None:
            times, first = status.stage_times(stage), status.first_trial(stage)
            words = ", ".join(filter(None, (stage.detail, times, first)))
            title = status.stage_title(stage)
            bars.append((f"{title}: {words}", float(stage.done), float(stage.total)))
        spent_and_all = status.of_budget()
        if spent_and_all is not None:
            words = f"{status.budget_words()} ({status.counts}), {status.trial_times()}"
            bars.append((words, *spent_and_all))
        about = status.about()
        flying = [" ".join(trial) for trial in status.flying()]
        text = "\n".join([*about, *(words for words, *_ in bars), *flying])
        html = [
            *(f"<div>{_html(line)}</div>" for line in about),
            *(
                f'<div><progress value="{done:g}" max="{total:g}"></progress> {_html(words)}</div>'
                for words, done, total in bars
            ),
            *(f"<div>{_html(line)}</div>" for line in flying),
        ]
        if status.front:
            html.append(html_table(SHORT_HEAD, short_rows(status.front)))
        self._show(printable(text), "".join(html))


def _html(text: str) -> str:
    return escape(printable(text))


@contextmanager
def in_cell() -> Iterator[ShownProgress]:
    """Open a place below the cell that is run."""
    from IPython.display import display

    handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def show(text: str, html: str) -> None:
        handle.update({"text/plain": text, "text/html": html}, raw=True)

    try:
        yield CellProgress(show)
    finally:
        show("", "")
