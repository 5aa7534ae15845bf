"""Progress for where a function is called: in a notebook, on a terminal, or none at all."""

import sys
from contextlib import AbstractContextManager, nullcontext

from lambda_nas.api.progress.quiet import Quiet, ShownProgress


def progress_shown(
    *, visible: bool, budget_trials: int | None = None
) -> AbstractContextManager[ShownProgress]:
    """Return progress for where this is called."""
    if not visible:
        return nullcontext(Quiet())
    if in_notebook():
        from lambda_nas.api.progress.notebook import in_cell

        return in_cell(budget_trials)
    from lambda_nas.api.progress.terminal import SearchProgress

    return SearchProgress(budget_trials)


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
