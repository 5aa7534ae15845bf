"""Tables and the figure of what `samplers.py` writes."""

import math
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

BUDGETS = (8, 16, 32, 64, 128)
GOAL = 0.99
QUARTILES = (0.25, 0.5, 0.75)
GATE = ("wrong", "open", "rejected")
"""See `samplers.judge_gate`."""

NAMES = {
    "ours": "ours",
    "nose": "NOSE alone",
    "random": "RandomSampler",
    "tpe": "TPESampler, multivariate",
    "nsga2": "NSGAIISampler",
    "gp": "GPSampler",
}
COLOURS = dict(
    zip(NAMES, ("#3b6fb6", "#e08a2e", "#9aa3ad", "#4a9c5d", "#d9534f", "#8e5ea2"), strict=True)
)
LEAST_MISSING = 1e-2
"""Percent missing that is drawn for a front that is found completely."""

Records = Mapping[str, Mapping[str, Any]]


def markdown(records: Records) -> str:
    """Return two tables per race: the shares of the exhaustive hypervolume, and the gate."""
    parts = []
    for race, runs in _races(records).items():
        head = ["sampler", *map(str, BUDGETS), "trials to 99%", "seconds a trial", "seeds"]
        rows = [
            [
                NAMES[name],
                *(_percent(record["share"], budget) for budget in BUDGETS),
                _needed(record),
                f"{record['seconds_a_trial']:.3f}",
                str(record["seeds"]),
            ]
            for name, record in runs.items()
        ]
        parts.append(f"{race}\n\n{_table(head, rows)}")
        if "ours" in runs:
            gate = [[name, *(f"{share:.2%}" for share in runs["ours"][name])] for name in GATE]
            parts.append(_table(["gate", *map(str, BUDGETS)], gate))
    return "\n\n".join(parts)


def draw(records: Records) -> go.Figure:
    """Draw the share over the trials, one panel per race: medians, and bands between quartiles."""
    races = _races(records)
    figure = make_subplots(
        1, len(races), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=list(races)
    )
    for column, runs in enumerate(races.values(), 1):
        for name, record in runs.items():
            figure.add_traces(_traces(name, record, legend=column == 1), rows=1, cols=column)
    ticks = [50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, LEAST_MISSING]
    shares = [*(f"{100 - missing:g}%" for missing in ticks[:-1]), "all"]
    # What is missing, on a logarithmic axis upside down: 99% lies as far from 90% as that from 0%.
    upwards = [math.log10(70), math.log10(0.8 * LEAST_MISSING)]
    figure.update_yaxes(type="log", range=upwards, tickvals=ticks, ticktext=shares)
    figure.update_xaxes(type="log", tickvals=[1, 2, 4, *BUDGETS], title="trials")
    figure.add_hline(y=100 * (1 - GOAL), line={"color": "#333333", "width": 1, "dash": "dot"})
    return figure.update_layout(
        template="plotly_white",
        width=520 * len(races) + 120,
        height=560,
        margin={"t": 50, "b": 110},
        yaxis_title="share of the exhaustive hypervolume",
        legend={"orientation": "h", "y": -0.16, "x": 0.5, "xanchor": "center"},
    )


def _traces(name: str, record: Mapping[str, Any], *, legend: bool) -> list[go.Scatter]:
    low, median, high = (
        [max(LEAST_MISSING, 100 * (1 - share)) for share in curve] for curve in record["share"]
    )
    trials = list(range(1, len(median) + 1))
    style = {"mode": "lines", "legendgroup": name, "hoverinfo": "skip"}
    red, green, blue = (int(COLOURS[name][at : at + 2], 16) for at in (1, 3, 5))
    band = {
        "x": trials + trials[::-1],
        "y": low + high[::-1],
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.18)",
        "line": {"width": 0},
        "showlegend": False,
    }
    line = {"color": COLOURS[name], "width": 2.5}
    return [
        go.Scatter(**band, **style),
        go.Scatter(x=trials, y=median, line=line, name=NAMES[name], showlegend=legend, **style),
    ]


def _races(records: Records) -> dict[str, dict[str, Mapping[str, Any]]]:
    races: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key in sorted(records, key=lambda key: list(NAMES).index(key.rsplit(", ", 1)[1])):
        race, name = key.rsplit(", ", 1)
        races.setdefault(race, {})[name] = records[key]
    return dict(sorted(races.items()))


def _percent(share: list[list[float]], budget: int) -> str:
    if budget > len(share[0]):
        return ""
    low, median, high = (100 * curve[budget - 1] for curve in share)
    return f"{median:.1f} [{low:.1f}, {high:.1f}]"


def _needed(record: Mapping[str, Any]) -> str:
    budget = len(record["share"][0])
    low, median, high = (str(n) if n <= budget else f">{budget}" for n in record["needed"])
    return f"{median} [{low}, {high}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
