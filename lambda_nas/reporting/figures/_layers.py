"""The layers that each trial of the front removes."""

from typing import NamedTuple

import plotly.graph_objects as go

from lambda_nas.records.study import StudyRecord
from lambda_nas.reporting.figures._style import BLUE, style


class LayersData(NamedTuple):
    """One row per trial of the front, slowest first, and one column per layer.

    Attributes:
        layers: Indices of the layers that may be removed.
        names: Labels of the rows.
        removed: Whether the trial removes the layer.
        share: Fraction of the trials that remove each layer.
    """

    layers: list[int]
    names: list[str]
    removed: list[list[bool]]
    share: list[float]


def layers_data(study: StudyRecord) -> LayersData:
    """Collect the layers that each trial of the front removes."""
    layers = list(study.info.layers)
    members = sorted(study.front, key=lambda point: point.price.speedup)
    removed = [[layer in point.removal for layer in layers] for point in members]
    return LayersData(
        layers,
        [f"{point.price.speedup:.2f}x, {100 * point.accuracy:.1f}%" for point in members],
        removed,
        [sum(column) / len(members) for column in zip(*removed, strict=True)],
    )


def layers(study: StudyRecord) -> go.Figure:
    """Draw a map of layers by trials of the front; empty without a front."""
    data = layers_data(study)
    figure = go.Figure()
    if data.names:
        figure.add_heatmap(
            z=[[int(gone) for gone in row] for row in data.removed],
            # Trials can have equal labels.
            y=list(range(len(data.names))),
            x=[str(layer) for layer in data.layers],
            text=[[("kept", "removed")[gone] for gone in row] for row in data.removed],
            customdata=[[name] * len(data.layers) for name in data.names],
            hovertemplate="layer %{x} %{text}<br>%{customdata}<extra></extra>",
            colorscale=[[0, "rgba(128,128,128,0.12)"], [1, BLUE]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
        )
    facts = _facts(data)
    style(figure, "Removed layers on the front", facts, height=190 + 26 * len(data.names))
    figure.update_xaxes(title_text="layer", type="category", showgrid=False)
    figure.update_yaxes(
        title_text="speed-up, top-1",
        autorange="reversed",
        tickvals=list(range(len(data.names))),
        ticktext=data.names,
        showgrid=False,
        zeroline=False,
        ticks="",
    )
    return figure


def _facts(data: LayersData) -> str:
    """Name the layers that every trial removes, and those that none removes."""
    always = [
        str(layer) for layer, share in zip(data.layers, data.share, strict=False) if share == 1
    ]
    never = [
        str(layer) for layer, share in zip(data.layers, data.share, strict=False) if share == 0
    ]
    return "; ".join(
        f"{word} removed: {', '.join(found)}"
        for word, found in (("always", always), ("never", never))
        if found
    )
