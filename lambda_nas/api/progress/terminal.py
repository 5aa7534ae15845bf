"""The terminal: notes on it, and the live view of what a function does."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lambda_nas.api.progress.console import note, stderr
from lambda_nas.api.progress.status import Status, settings_lines
from lambda_nas.execution.progress import Advance, Event, ProposalRejected, SearchBegun, TrialEnded
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.reporting.formatting import printable
from lambda_nas.reporting.front_table import SHORT_HEAD, short_rows, thin
from lambda_nas.reporting.wrapping import AtCommas

REDRAWN_HZ = 4
BAR_WIDTH = 24
FEWEST_ROWS = 2


class LiveView:
    """What a function does, redrawn in place, and gone at the end.

    Above it stays what is to be kept: notes and failed trials.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._status = Status()
        self._live = Live(
            self,
            console=stderr,
            transient=True,
            refresh_per_second=REDRAWN_HZ,
            vertical_overflow="crop",
        )

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Advance]:
        """Show a bar with the time left while the stage lasts."""
        with self._status.stage(label, total) as stage:
            yield stage.advance

    def notes(self, texts: Iterable[str]) -> None:
        """Print the notes above the view."""
        for text in texts:
            note(text)

    def trials(self, counts: TrialCounts, front: Sequence[ParetoTrial]) -> None:
        """Show how many trials are completed, stopped, rejected and failed, and the front."""
        self._status.trials(counts, front)

    def tell(self, event: Event) -> None:
        """Show an event in the view; print above it what must not get lost."""
        first = self._status.search is None
        self._status.tell(event)
        match event:
            case TrialEnded(outcome="failed") as ended:
                text = AtCommas(f"failed: {ended.architecture}: {ended.reason}")
                stderr.print(text, style="red")
            case ProposalRejected(architecture, reason) if self._verbose:
                stderr.print(AtCommas(f"rejected {architecture}: {reason}"))
            case SearchBegun() if self._verbose and first:
                for line in settings_lines(event.settings):
                    stderr.print(line, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the view in the height that the terminal has now."""
        status, stage = self._status, self._status.current
        flying, front = status.flying(), status.front
        above: list[RenderableType] = [_line(text) for text in status.about()]
        if stage is not None:
            above.append(_line(status.stage_title(stage)))
            above.append(_bar(stage.done, stage.total, stage.detail, status.stage_times(stage)))
            if first := status.first_trial(stage):
                above.append(_line(first))
        spent_and_all = status.of_budget()
        if spent_and_all is not None:
            above.append(_bar(*spent_and_all, status.budget_words(), status.trial_times()))
            above.append(_line(str(status.counts)))
        if flying:
            above.append(_flying(flying))
        yield from above
        room = console.size.height - 1
        room -= sum(len(console.render_lines(part, options)) for part in above)
        if front:
            yield _fitting(front, console, options, room)


def _line(text: str) -> Text:
    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def _bar(done: float, total: float, *words: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=BAR_WIDTH)
    grid.add_column(overflow="ellipsis", no_wrap=True)
    text = ", ".join(filter(None, words))
    grid.add_row(ProgressBar(total=max(total, 1), completed=done), text)
    return grid


def _flying(trials: Sequence[tuple[str, ...]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for trial, *words in trials:
        grid.add_row(trial, *map(AtCommas, words))
    return grid


def _fitting(
    front: Sequence[ParetoTrial], console: Console, options: ConsoleOptions, room: int
) -> RenderableType:
    """Return the front in so many lines, thinned if it is longer."""
    most = max(min(len(front), room - 2), FEWEST_ROWS)
    while True:
        table = _front(front, most)
        if most <= FEWEST_ROWS or len(console.render_lines(table, options)) <= room:
            return table
        most -= 1


def _front(front: Sequence[ParetoTrial], most: int) -> Table:
    shown = thin(front, most)
    title = "front, slow to fast"
    if len(shown) < len(front):
        title += f" ({len(shown)} of {len(front)})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in SHORT_HEAD:
        right = column != "architecture"
        table.add_column(column, justify="right" if right else "left", no_wrap=right)
    for architecture, *numbers in short_rows(shown):
        table.add_row(AtCommas(architecture), *numbers)
    return table
