"""The table of a front, as rows of text and as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from lambda_nas.cost.measurement import Price
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.formatting import megabytes, percent, printable, short_name

FRONT_HEAD = (
    *("trial", "architecture", "top-1", "change", "speed-up", "images/s", "memory", "params"),
)


def front_title(info: StudyInfo) -> str:
    """Return the study's name, model, data and device in one line."""
    return f"{info.name}: {short_name(info.model)} on {short_name(info.data)}, {info.device}"


def front_rows(info: StudyInfo, front: Sequence[ParetoTrial]) -> list[list[str]]:
    """Return the cells below ``FRONT_HEAD``: the unpruned model, then the front."""
    return [
        ["", "none", *_cells(info.baseline_accuracy, info.baseline, info)],
        *(
            [str(point.trial), str(point.architecture), *_cells(point.accuracy, point.price, info)]
            for point in front
        ),
    ]


def _cells(accuracy: float, price: Price, info: StudyInfo) -> list[str]:
    return [
        percent(accuracy),
        f"{100 * (accuracy - info.baseline_accuracy):+.2f}",
        f"{price.speedup:.2f}x",
        f"{price.throughput:.1f}",
        megabytes(price.memory_bytes),
        f"{price.params / 1e6:.2f} M",
    ]


SHORT_HEAD = ("architecture", "top-1", "speed-up")


def short_rows(front: Sequence[ParetoTrial]) -> list[list[str]]:
    """Return the cells below ``SHORT_HEAD``, from slow to fast."""
    return [
        [
            str(point.architecture),
            percent(point.accuracy),
            f"{point.price.speedup:.2f}x",
        ]
        for point in front
    ]


def thin(front: Sequence[ParetoTrial], most: int) -> list[ParetoTrial]:
    """Return at most so many members of a front, evenly chosen; the first and the last stay."""
    if len(front) <= most:
        return list(front)
    if most < 2:
        return list(front[:most])
    return [front[round(i * (len(front) - 1) / (most - 1))] for i in range(most)]


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return an HTML table without styles of its own, which a notebook adds."""
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(printable(caption))}</caption>")
    lines += ["<thead>", _html_row("th", head), "</thead>", "<tbody>"]
    lines += [_html_row("td", row) for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(printable(cell))}</{tag}>' for cell in cells)}</tr>"
