"""What each layer is worth before any trial."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from lambda_nas.report.figures._style import BLUE, ORANGE, RED, style
from lambda_nas.search.values import Study

# Two scores on one axis would hide the smaller: they differ by orders of magnitude.
_PANELS = (
    # Instead of a legend, for which a phone has no room there.
    f"Entropy of <b style='color:{BLUE}'>attention</b> and "
    f"<b style='color:{ORANGE}'>MLP</b> outputs",
    "Transfer entropy of removing one layer",
    "Relative entropy of removing one layer",
    "High-frequency share of the blocks' outputs",
)


class PriorData(NamedTuple):
    """Fields of ``LayerPrior`` by layer, and the spectra along the NOSE path.

    Attributes:
        layers: Indices; the lists below go with them, entropies in nats.
        high_frequency: Of the unpruned model, in percent.
        spectra: By name of the step: of all blocks, in percent.
    """

    layers: list[int]
    entropy_attn: list[float]
    entropy_mlp: list[float]
    transfer_entropy: list[float]
    relative_entropy: list[float]
    high_frequency: list[float]
    spectra: dict[str, list[float]]


def prior_data(layers: Sequence[Mapping[str, Any]], path: Sequence[Mapping[str, Any]]) -> PriorData:
    """Collect what a prior says, fields of ``LayerPrior`` and ``NoseStep``.

    One that was saved by an early version has no spectra.
    """

    def each(field: str) -> list[float]:
        return [layer[field] for layer in layers if field in layer]

    return PriorData(
        layers=[layer["index"] for layer in layers],
        entropy_attn=each("entropy_attn"),
        entropy_mlp=each("entropy_mlp"),
        transfer_entropy=each("transfer_entropy"),
        relative_entropy=each("relative_entropy"),
        high_frequency=[100 * share for share in each("high_frequency")],
        spectra={
            f"{len(step['removed'])} removed": [100 * share for share in step["high_frequency"]]
            for step in path
            if "high_frequency" in step
        },
    )


def prior(study: Study) -> go.Figure:
    """Draw the prior of a study; empty if it has none."""
    saved = study.prior or {"layers": [], "path": []}
    facts = f"from {saved['images']} images, no labels" if study.prior else ""
    return draw_prior(prior_data(saved["layers"], saved["path"]), "Prior", facts)


def draw_prior(data: PriorData, title: str, facts: str = "") -> go.Figure:
    """Draw entropies, what removing one layer does, and the spectra along the path."""
    panels = _PANELS if data.high_frequency else _PANELS[:3]
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=panels
    )
    if data.layers:
        _add_layers(figure, data)
    if data.high_frequency:
        _add_spectra(figure, data)
    style(figure, title, facts, height=140 + 230 * len(panels))
    figure.update_annotations(font_size=13)
    figure.update_yaxes(title_text="nats")
    figure.update_xaxes(tickvals=data.layers)
    figure.update_xaxes(title_text="layer", row=len(panels), col=1)
    if data.high_frequency:
        figure.update_yaxes(title_text="%", row=4, col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.07})
    return figure


def _add_layers(figure: go.Figure, data: PriorData) -> None:
    _add_line(figure, data.layers, data.entropy_attn, "attention", BLUE, row=1)
    _add_line(figure, data.layers, data.entropy_mlp, "MLP", ORANGE, row=1)
    for row, values in ((2, data.transfer_entropy), (3, data.relative_entropy)):
        figure.add_bar(
            x=data.layers,
            y=values,
            marker_color=BLUE,
            showlegend=False,
            hovertemplate="layer %{x}: %{y:.4g} nats<extra></extra>",
            row=row,
            col=1,
        )


def _add_spectra(figure: go.Figure, data: PriorData) -> None:
    shades = _shades(len(data.spectra))
    for (name, values), shade in zip(data.spectra.items(), shades, strict=True):
        _add_line(figure, [*range(len(values))], values, name, shade, 4)
    # Last, so that it lies on top of those that follow it for some blocks.
    _add_line(figure, data.layers, data.high_frequency, "unpruned", RED, 4)


def _shades(count: int) -> list[str]:
    """Return colours in order; neither end of the scale, which dark or light pages would hide."""
    return sample_colorscale("Viridis", count, low=0.2, high=0.9) if count else []


def _add_line(
    figure: go.Figure,
    x: list[int],
    y: list[float],
    name: str,
    color: str,
    row: int,
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line_color=color,
        marker_size=5,
        showlegend=row == 4,
        row=row,
        col=1,
    )
