"""Figures of a study; the only place that knows plotly."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lambda_nas.errors import InputError
from lambda_nas.search.values import FrontPoint, StudyInfo

SUFFIXES = (".html", ".png", ".svg")


def front(info: StudyInfo, trials: Sequence[FrontPoint], front: Sequence[FrontPoint]) -> go.Figure:
    """Draw accuracy against speed-up: all trials, the front among them, the unpruned model."""
    figure = go.Figure()
    members = {point.trial for point in front}
    others = [point for point in trials if point.trial not in members]
    figure.add_scatter(
        x=[point.price.speedup for point in others],
        y=[100 * point.accuracy for point in others],
        text=[str(point.removal) for point in others],
        name="other trials",
        mode="markers",
        marker={"color": "#b8bfc8", "size": 9},
        hovertemplate="%{text}<br>%{y:.2f}% at %{x:.2f}x<extra></extra>",
    )
    figure.add_scatter(
        x=[point.price.speedup for point in front],
        y=[100 * point.accuracy for point in front],
        text=[str(point.removal) for point in front],
        customdata=[point.price.memory_bytes / 1e6 for point in front],
        name="front",
        mode="lines+markers+text",
        textposition="bottom left",
        line={"color": "#8aa0c8", "dash": "dot"},
        marker={
            "color": [point.price.memory_bytes / 1e6 for point in front],
            "colorscale": "Viridis",
            "colorbar": {"title": "memory (MB)"},
            "size": 13,
        },
        hovertemplate="%{text}<br>%{y:.2f}% at %{x:.2f}x, %{customdata:.1f} MB<extra></extra>",
    )
    figure.add_scatter(
        x=[1.0],
        y=[100 * info.baseline_accuracy],
        name="unpruned",
        mode="markers",
        marker={"symbol": "star", "size": 16, "color": "#d9534f"},
        hovertemplate="unpruned: %{y:.2f}%<extra></extra>",
    )
    figure.update_layout(
        template="plotly_white",
        title=f"{info.name}<br><sup>{info.device}</sup>",
        xaxis_title="speed-up over the unpruned model",
        yaxis_title="top-1 accuracy (%)",
        legend={"orientation": "h", "y": -0.18},
    )
    return figure


def prior(layers: Sequence[Mapping[str, float]], title: str) -> go.Figure:
    """Draw each layer's entropies, and what removing it alone does to the output."""
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        subplot_titles=("Entropy of the branches' outputs", "Removing one layer"),
    )
    index = [layer["index"] for layer in layers]
    for row, fields in enumerate(
        (
            {"entropy_attn": "attention", "entropy_mlp": "MLP"},
            {"transfer_entropy": "transfer entropy", "relative_entropy": "relative entropy"},
        ),
        start=1,
    ):
        for field, name in fields.items():
            figure.add_scatter(
                x=index,
                y=[layer[field] for layer in layers],
                name=name,
                mode="lines+markers",
                row=row,
                col=1,
            )
        figure.update_yaxes(title_text="nats", row=row, col=1)
    figure.update_xaxes(title_text="layer", dtick=1, row=2, col=1)
    figure.update_layout(template="plotly_white", title=title)
    return figure


def save(figure: go.Figure, path: Path) -> None:
    """Write a figure as a self-contained page, or as an image through Kaleido and Chrome.

    Raises:
        InputError: If the suffix is unknown, the folder is missing, or no image can be made.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".html":
            figure.write_html(path, include_plotlyjs=True)
        else:
            figure.write_image(path, width=900, height=560, scale=2)
    except OSError as error:
        raise InputError(f"--plot {path} can't be written ({error})") from error
    except (ValueError, RuntimeError, ImportError) as error:
        raise InputError(
            f"--plot {path}: images need `pip install kaleido` and Chrome or Chromium; .html needs "
            f"neither ({str(error).splitlines()[0]})"
        ) from error
