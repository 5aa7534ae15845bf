"""Figures of a study; the only place that knows plotly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from lambda_nas.errors import InputError
from lambda_nas.search.values import FrontPoint, StudyInfo

SUFFIXES = (".html", ".png", ".svg")
_BLUE, _ORANGE, _GREY, _RED = "#3b6fb6", "#e08a2e", "#9aa3ad", "#d9534f"
_HOVER = "%{text}<br>%{y:.2f}% at %{x:.2f}x, %{customdata:.1f} MB<extra></extra>"


class Series(NamedTuple):
    """Points of a scatter plot: speed-up, top-1 in percent, memory in MB (1e6 bytes), name."""

    speedup: list[float]
    accuracy: list[float]
    memory: list[float]
    names: list[str]


class FrontData(NamedTuple):
    """What the figure of a front shows; ``others`` are the trials that are not on it."""

    others: Series
    front: Series
    unpruned: Series


def front_data(
    info: StudyInfo, trials: Sequence[FrontPoint], front: Sequence[FrontPoint]
) -> FrontData:
    """Sort trials into those on the front, slowest first, and the others."""
    members = {point.trial for point in front}
    base = info.baseline
    return FrontData(
        others=_series([point for point in trials if point.trial not in members]),
        front=_series(sorted(front, key=lambda point: point.price.speedup)),
        unpruned=Series(
            [base.speedup], [100 * info.baseline_accuracy], [base.memory_bytes / 1e6], ["unpruned"]
        ),
    )


def _series(points: Sequence[FrontPoint]) -> Series:
    return Series(
        [point.price.speedup for point in points],
        [100 * point.accuracy for point in points],
        [point.price.memory_bytes / 1e6 for point in points],
        [str(point.removal) for point in points],
    )


def front(info: StudyInfo, trials: Sequence[FrontPoint], front: Sequence[FrontPoint]) -> go.Figure:
    """Draw accuracy against speed-up: all trials, the front among them, the unpruned model."""
    data = front_data(info, trials, front)
    figure = go.Figure()
    _add(figure, data.others, "other trials", marker={"color": _GREY, "size": 8, "opacity": 0.5})
    _add(
        figure,
        data.front,
        "front",
        mode="lines+markers+text",
        # Above the front, where other trials hide the fewest names.
        textposition="top right",
        line={"color": _GREY, "dash": "dot"},
        marker={
            "color": data.front.memory,
            "colorscale": "Viridis",
            "colorbar": {"title": "memory (MB)"},
            "size": 13,
            "line": {"color": "white", "width": 1},
        },
    )
    _add(figure, data.unpruned, "unpruned", marker={"symbol": "star", "size": 16, "color": _RED})
    fastest = max([1.0, *data.front.speedup, *data.others.speedup])
    slowest = min([1.0, *data.front.speedup, *data.others.speedup])
    width = max(fastest - slowest, 0.1)
    longest = max(map(len, data.front.names), default=0)
    figure.update_layout(
        template="plotly_white",
        title=f"{info.name}<br><sup>{info.model} on {info.data}, {info.device}</sup>",
        xaxis_title="speed-up over the unpruned model (x)",
        # Room on the right for the names of the fastest.
        xaxis_range=[slowest - 0.05 * width, fastest + (0.1 + 0.014 * longest) * width],
        yaxis_title="top-1 accuracy (%)",
        legend={"orientation": "h", "y": -0.18},
    )
    return figure


def _add(figure: go.Figure, series: Series, name: str, **style: object) -> None:
    figure.add_scatter(
        x=series.speedup,
        y=series.accuracy,
        text=series.names,
        customdata=series.memory,
        name=name,
        hovertemplate=_HOVER,
        **{"mode": "markers", **style},
    )


def prior(
    layers: Sequence[Mapping[str, Any]], path: Sequence[Mapping[str, Any]], title: str
) -> go.Figure:
    """Draw each layer's entropies, what removing it alone does, and the spectra along the path.

    Args:
        layers: Fields of ``LayerPrior``.
        path: Fields of ``NoseStep``.
        title: Of the figure.
    """
    figure = make_subplots(
        rows=4,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.07,
        # Two scores on one axis would hide the smaller: they differ by orders of magnitude.
        subplot_titles=(
            "Entropy of the branches' outputs",
            "Transfer entropy of removing one layer",
            "Relative entropy of removing one layer",
            "High-frequency share of the blocks' outputs, unpruned and along the NOSE path",
        ),
    )
    index = [layer["index"] for layer in layers]
    for field, name, color in (
        ("entropy_attn", "attention", _BLUE),
        ("entropy_mlp", "MLP", _ORANGE),
    ):
        values = [layer[field] for layer in layers]
        _add_line(figure, index, values, name, color, row=1)
    for row, field in ((2, "transfer_entropy"), (3, "relative_entropy")):
        figure.add_bar(
            x=index,
            y=[layer[field] for layer in layers],
            name=field.replace("_", " "),
            marker_color=_BLUE,
            showlegend=False,
            row=row,
            col=1,
        )
    _add_spectra(figure, layers, path, row=4)
    figure.update_yaxes(title_text="nats")
    figure.update_yaxes(title_text="%", row=4, col=1)
    figure.update_xaxes(tickvals=index)
    figure.update_xaxes(title_text="layer", row=4, col=1)
    figure.update_annotations(font_size=14)
    figure.update_layout(
        template="plotly_white", title=title, height=1000, legend2={"y": 0.0, "yanchor": "bottom"}
    )
    return figure


def _add_spectra(
    figure: go.Figure,
    layers: Sequence[Mapping[str, Any]],
    path: Sequence[Mapping[str, Any]],
    row: int,
) -> None:
    shades = sample_colorscale("Viridis", len(path)) if path else []
    for step, shade in zip(path, shades, strict=True):
        values = [100 * share for share in step["high_frequency"]]
        name = f"{len(step['removed'])} removed"
        _add_line(figure, [*range(len(values))], values, name, shade, row, legend="legend2")
    # Last, so that it lies on top of those that follow it for some blocks.
    index = [layer["index"] for layer in layers]
    unpruned = [100 * layer["high_frequency"] for layer in layers]
    _add_line(figure, index, unpruned, "unpruned", _RED, row, legend="legend2")


def _add_line(
    figure: go.Figure,
    x: list[int],
    y: list[float],
    name: str,
    color: str,
    row: int,
    legend: str = "legend",
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line_color=color,
        legend=legend,
        row=row,
        col=1,
    )


def save(figure: go.Figure, path: Path) -> None:
    """Write a figure as a self-contained page, or as an image through Kaleido and Chrome.

    Raises:
        InputError: If the suffix is unknown, the folder is missing, or no image can be made.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"figure {path}: the name must end in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".html":
            figure.write_html(path, include_plotlyjs=True)
        else:
            figure.write_image(path, width=900, height=figure.layout.height or 620, scale=2)
    except OSError as error:
        raise InputError(f"figure {path} can't be written ({error})") from error
    except (ValueError, RuntimeError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"figure {path}: images need `pip install kaleido` and Chrome or Chromium; .html needs "
            f"neither ({reason})"
        ) from error
