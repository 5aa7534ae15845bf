"""Text that a terminal breaks behind commas and spaces only, never inside a number."""

import re

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from lambda_nas.reporting.formatting import printable

_PIECE = re.compile(r"[^,\s]*(?:,\s*|\s+|$)")


def wrap_at_commas(text: str, width: int) -> list[str]:
    """Return the lines of a text; a line is longer than ``width`` only if it can't be broken.

    >>> wrap_at_commas("{0,2,10,11} merging 8 from block 2", 12)
    ['{0,2,10,11}', 'merging 8', 'from block 2']
    """
    lines = [""]
    for piece in filter(None, _PIECE.findall(text)):
        if lines[-1] and cell_len(lines[-1]) + cell_len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


class AtCommas:
    """A text for rich's tables and consoles that is broken behind commas and spaces only.

    Rich itself breaks a removal set, which has no spaces, wherever the column ends.
    """

    def __init__(self, text: str) -> None:
        self._text = printable(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines for the width that there is."""
        yield Text("\n".join(wrap_at_commas(self._text, options.max_width)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width of the longest piece, and that of the whole text."""
        pieces = wrap_at_commas(self._text, 1)
        return Measurement(max(map(cell_len, pieces)), cell_len(self._text))
