"""The common style of all figures, for light and dark pages."""

from html import escape

import plotly.graph_objects as go

from lambda_nas.reporting.formatting import printable

BLUE, ORANGE, GREY, RED, GREEN = "#3f82c9", "#e08a2e", "#8f99a3", "#d9534f", "#3a9d6e"
CROSS = {"color": GREY, "size": 8, "symbol": "x-thin", "line": {"width": 1.5, "color": GREY}}
"""The marker of trials that were stopped early."""

_CLEAR = "rgba(0,0,0,0)"
_GRID = "rgba(128,128,128,0.25)"


def plain(text: str) -> str:
    """Return a text in Plotly's HTML, which knows some tags, links and few entities."""
    return escape(printable(text), quote=False)


def style(figure: go.Figure, title: str, facts: str, *, height: int = 480) -> go.Figure:
    """Give a figure its title, a line of facts below it, and the common style.

    Backgrounds are transparent and lines half transparent, so that figures suit a page of any
    color. Plotly's own templates would add 7 kB to each stored figure.

    Args:
        figure: The figure, changed in place.
        title: The title in plain text.
        facts: The line of facts in Plotly's HTML, so names in it must be ``plain``.
        height: Height in pixels.
    """
    figure.update_layout(
        template="none",
        title={"text": plain(title), "subtitle": {"text": facts}, "x": 0.02, "xanchor": "left"},
        height=height,
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        margin={"l": 60, "r": 20, "t": 90, "b": 60},
        font={"family": "system-ui, sans-serif", "size": 13},
        modebar={"bgcolor": _CLEAR, "color": GREY, "activecolor": BLUE},
    )
    for axes in (figure.update_xaxes, figure.update_yaxes):
        # With a standoff, titles keep clear of the labels.
        axes(
            title_standoff=10,
            gridcolor=_GRID,
            zerolinecolor=_GRID,
            linecolor=_GRID,
            automargin=True,
        )
    return figure
