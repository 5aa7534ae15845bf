"""Progress on the terminal; silent when stderr is not one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from lambda_nas.api.progress.console import PlainConsole, labeled
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.front_table import BEST_HEAD, best_rows

stderr = PlainConsole(stderr=True)


def note(text: str) -> None:
    """Tell the user something on stderr."""
    stderr.print(labeled("note", "dim", text), soft_wrap=True)


@contextmanager
def stage(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar with the time left; yields the function that advances it."""
    with _bar() as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    )


class SearchProgress:
    """The live view of a search: bar, counts, and the best points so far."""

    def __init__(self, budget_trials: int | None) -> None:
        self._bar = _bar()
        self._task = self._bar.add_task("", total=budget_trials, start=False)
        self._live = Live(
            self._bar, console=stderr, transient=True, refresh_per_second=4, auto_refresh=True
        )
        self._live_on = False

    stage = staticmethod(stage)

    def notes(self, texts: Iterable[str]) -> None:
        """Print the notes above the bar."""
        for text in texts:
            note(text)

    def __enter__(self) -> "SearchProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show how many trials are completed, stopped, rejected and failed, and the front."""
        if not stderr.is_terminal:
            return
        if not self._live_on:
            self._live.start()
            self._bar.start_task(self._task)
            self._live_on = True
        self._bar.update(self._task, description=str(counts), completed=counts.evaluated)
        self._live.update(Group(self._bar, _best(front)))

    def failed(self, architecture: Architecture, reason: str) -> None:
        """Tell of a failed trial above the bar."""
        stderr.print(labeled("failed", "red", f"{architecture}: {reason}"), soft_wrap=True)


def _best(front: Sequence[ParetoTrial]) -> Table:
    table = Table(*BEST_HEAD, box=None)
    for row in best_rows(front):
        table.add_row(*row)
    return table
