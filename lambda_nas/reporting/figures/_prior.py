"""The prior of each layer, measured before any trial."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from lambda_nas.records.study import StudyRecord
from lambda_nas.reporting.figures._style import BLUE, ORANGE, RED, plain, style

# Each score has its own axis, because they differ by orders of magnitude.
_PANELS = (
    # The colors replace a legend, which would not fit on a phone.
    f"Entropy of <b style='color:{BLUE}'>attention</b> and "
    f"<b style='color:{ORANGE}'>MLP</b> outputs",
    "Transfer entropy of removing one layer",
    "Relative entropy of removing one layer",
    "High-frequency share of the blocks' outputs",
)


class PriorData(NamedTuple):
    """Fields of ``LayerPrior`` by layer, and the spectra along the NOSE path.

    Attributes:
        layers: Layer indices; each list below has one value per layer or is empty.
        high_frequency: High-frequency shares of the unpruned model, in percent.
        spectra: High-frequency shares of all blocks at each step, in percent.
    """

    layers: list[int]
    entropy_attn: list[float]
    entropy_mlp: list[float]
    transfer_entropy: list[float]
    relative_entropy: list[float]
    high_frequency: list[float]
    spectra: dict[str, list[float]]


def prior_data(layers: Sequence[Mapping[str, Any]], path: Sequence[Mapping[str, Any]]) -> PriorData:
    """Collect the values of a stored prior: fields of ``LayerPrior`` and ``NoseStep``.

    Spectra are missing for models that can't be run block by block.
    """

    def each(field: str) -> list[float]:
        return [layer[field] for layer in layers if layer[field] is not None]

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
            if step["high_frequency"]
        },
    )


def prior(study: StudyRecord, *, columns: int = 1) -> go.Figure:
    """Draw the prior of a study; empty if it has none."""
    saved = study.prior or {"layers": [], "path": []}
    facts = f"from {plain(str(saved['images']))} images, no labels" if study.prior else ""
    return draw_prior(prior_data(saved["layers"], saved["path"]), "Prior", facts, columns=columns)


def draw_prior(data: PriorData, title: str, facts: str = "", *, columns: int = 1) -> go.Figure:
    """Draw the entropies, the scores of removing each layer, and the spectra along the path."""
    # A model that can't be run block by block has neither entropies nor spectra.
    shown = (bool(data.entropy_attn or not data.layers), True, True, bool(data.high_frequency))
    panels = [panel for panel, is_shown in zip(_PANELS, shown, strict=True) if is_shown]
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, vertical_spacing=0.21 / rows**0.75, subplot_titles=panels
    )
    cells = [{"row": n // columns + 1, "col": n % columns + 1} for n in range(len(panels))]
    if data.entropy_attn:
        _add_entropies(figure, data, cells[0])
    if data.layers:
        _add_scores(figure, data, cells[shown[0] :])
    if data.high_frequency:
        _add_spectra(figure, data, cells[-1])
    style(figure, title, facts, height=140 + 230 * rows)
    figure.update_annotations(font_size=13 if columns == 1 else 11)
    figure.update_yaxes(title_text="nats")
    # Only the lowest panel needs tick labels, because all panels share the layers.
    figure.update_xaxes(tickvals=data.layers, showticklabels=False, matches="x")
    for cell in cells[-columns:]:
        figure.update_xaxes(title_text="layer", showticklabels=True, **cell)
    if data.high_frequency:
        figure.update_yaxes(title_text="share (%)", **cells[-1])
    figure.update_layout(legend={"orientation": "h", "y": -0.07 if columns == 1 else -0.22})
    return figure


def _add_entropies(figure: go.Figure, data: PriorData, cell: Mapping[str, int]) -> None:
    for values, name, color in (
        (data.entropy_attn, "attention", BLUE),
        (data.entropy_mlp, "MLP", ORANGE),
    ):
        _add_line(figure, data.layers, values, name, color, cell, named=False)


def _add_scores(figure: go.Figure, data: PriorData, cells: Sequence[Mapping[str, int]]) -> None:
    for cell, values in zip(cells, (data.transfer_entropy, data.relative_entropy), strict=False):
        figure.add_bar(
            x=data.layers,
            y=values,
            marker_color=BLUE,
            showlegend=False,
            hovertemplate="layer %{x}: %{y:.4g} nats<extra></extra>",
            **cell,
        )


def _add_spectra(figure: go.Figure, data: PriorData, cell: Mapping[str, int]) -> None:
    shades = _shades(len(data.spectra))
    for (name, values), shade in zip(data.spectra.items(), shades, strict=True):
        _add_line(figure, [*range(len(values))], values, name, shade, cell)
    # Drawn last, so that it covers the lines that coincide with it.
    _add_line(figure, data.layers, data.high_frequency, "unpruned", RED, cell)


def _shades(count: int) -> list[str]:
    """Return a sequence of colors, without those that a dark or light page would hide."""
    return sample_colorscale("Viridis", count, low=0.2, high=0.9) if count else []


def _add_line(
    figure: go.Figure,
    x: list[int],
    y: list[float],
    name: str,
    color: str,
    cell: Mapping[str, int],
    *,
    named: bool = True,
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line_color=color,
        marker_size=5,
        showlegend=named,
        **cell,
    )
