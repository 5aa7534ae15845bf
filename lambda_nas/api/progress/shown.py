"""Progress for where a function is called: a notebook, a terminal, a log, or none at all."""

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from lambda_nas.api.progress.quiet import Quiet, ShownProgress
from lambda_nas.execution.progress import Advance


def progress_shown(*, visible: bool) -> AbstractContextManager[ShownProgress]:
    """Return progress for where this is called.

    The level of the logger ``lambda_nas`` says how much is told: from ``WARNING`` on nothing,
    ``DEBUG`` everything.
    """
    level = logging.getLogger("lambda_nas").level or logging.INFO
    verbose = level <= logging.DEBUG
    if not visible or level > logging.INFO:
        return nullcontext(Quiet())
    if in_notebook():
        from lambda_nas.api.progress.notebook import in_cell

        return in_cell()
    from lambda_nas.api.progress.console import stderr
    from lambda_nas.api.progress.lines import Lines
    from lambda_nas.api.progress.terminal import LiveView

    # With FORCE_COLOR rich takes a file for a terminal.
    if stderr.file.isatty() and not stderr.is_dumb_terminal:
        return LiveView(verbose=verbose)
    return Lines(lambda line: stderr.print(line, soft_wrap=True), verbose=verbose)


@contextmanager
def stage(label: str, total: int) -> Iterator[Advance]:
    """Show a stage that belongs to no function; yields the function that advances it."""
    with progress_shown(visible=True) as shown, shown.stage(label, total) as advance:
        yield advance


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
