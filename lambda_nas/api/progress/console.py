"""The terminal as we write to it: names and paths are shown as they are, whatever they hold."""

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


def labeled(label: str, style: str, text: str) -> Text:
    """Return a line that begins with a styled label."""
    return Text.assemble((f"{label}:", style), " ", printable(text))
