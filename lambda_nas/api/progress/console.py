"""The terminal as we write to it: names and paths are shown as they are, whatever they hold."""

import logging
from typing import Any

from rich.console import Console
from rich.text import Text

from lambda_nas.reporting.formatting import printable


class PlainConsole(Console):
    """A console for which a string holds no markup, no emoji code and nothing to execute.

    Style what is printed with ``style=`` or with ``labeled``.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        """Turn a string or a cell of a table into text."""
        return super().render_str(printable(text), **options)


stderr = PlainConsole(stderr=True)


def labeled(label: str, style: str, text: str) -> Text:
    """Return a line that begins with a styled label."""
    return Text.assemble((f"{label}:", style), " ", printable(text))


def note(text: str) -> None:
    """Tell the user something on stderr, unless only what went wrong is to be told."""
    if logging.getLogger("lambda_nas").level <= logging.INFO:
        # A terminal would break long lines inside words. In a file each note is a line.
        stderr.print(labeled("note", "dim", text), soft_wrap=not stderr.is_terminal)
