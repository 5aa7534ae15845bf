"""Accuracy against speed-up: the front among all trials."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import plotly.graph_objects as go

from lambda_nas.models.architecture import Architecture
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.figures._style import CROSS, GREEN, GREY, RED, plain, style
from lambda_nas.reporting.formatting import (
    megabytes,
    percent,
    short_architecture,
    short_name,
)

PAPER_SETS = tuple(
    Architecture.of(layers)
    for layers in ((0, 2, 4), (0, 2, 4, 6), (0, 1, 3, 4, 6), (0, 1, 3, 4, 6, 9))
)
"""The removal sets that Lin et al. (arXiv 2404.05657) train, for DeiT of all sizes."""

LETTER, LINE, POINT, STAR = 0.0135, 0.06, 0.015, 0.02
"""Approximate width of a letter, height of a line, and half the width and height of a point and of
the star, as fractions of the axes in a panel of the dashboard, half a page wide."""

SAMPLES = 20
"""Points of each stretch of the dotted line that a label had better not hide."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


class Series(NamedTuple):
    """Points of a scatter plot: speed-up, top-1 in percent, memory in MB (1e6 bytes), labels."""

    speedup: list[float]
    accuracy: list[float]
    memory: list[float]
    names: list[str]
    hover: list[str]


class FrontData(NamedTuple):
    """The points of the figure of a front.

    Attributes:
        front: The front, slowest first.
        others: Completed trials that are not on the front.
        stopped: Trials stopped early, at the best accuracy of the rungs that they completed.
        marked: All trials of the paper's removal sets and of the search space's seeds.
        unpruned: The unpruned model.
    """

    front: Series
    others: Series
    stopped: Series
    marked: Series
    unpruned: Series


def front_data(study: StudyRecord) -> FrontData:
    """Sort the trials of a study."""
    members = {point.trial for point in study.front}
    info = study.info
    ended = [study.pareto_trial(trial) for trial in study.trials if trial.stopped is None]
    stopped = [study.pareto_trial(trial) for trial in study.trials if trial.stopped is not None]
    named = named_sets(info)
    unpruned = ParetoTrial(-1, Architecture.of(()), info.baseline_accuracy, 0, info.baseline)
    return FrontData(
        front=_series(info, sorted(study.front, key=lambda point: point.price.speedup)),
        others=_series(info, [point for point in ended if point.trial not in members]),
        stopped=_series(info, stopped, "stopped early"),
        marked=_series(
            info, [point for point in (*ended, *stopped) if point.architecture in named]
        ),
        unpruned=_series(info, [unpruned])._replace(names=["unpruned"]),
    )


def named_sets(info: StudyInfo) -> set[Architecture]:
    """Return the paper's removal sets and the seeds of the study's search space."""
    seeds = cast("Iterable[Iterable[int]]", info.settings.get("seeds", ()))
    return {*PAPER_SETS, *map(Architecture.of, seeds)}


def _series(info: StudyInfo, points: Sequence[ParetoTrial], remark: str = "") -> Series:
    return Series(
        [point.price.speedup for point in points],
        [100 * point.accuracy for point in points],
        [point.price.memory_bytes / 1e6 for point in points],
        [short_architecture(point.architecture) for point in points],
        [_hover(info, point, remark) for point in points],
    )


def _hover(info: StudyInfo, point: ParetoTrial, remark: str) -> str:
    price = point.price
    title = "unpruned" if point.trial < 0 else f"trial {point.trial}: {point.architecture}"
    change = 100 * (point.accuracy - info.baseline_accuracy)
    lines = [
        f"<b>{title}</b>",
        *([remark] if remark else []),
        f"top-1 {percent(point.accuracy)} ({change:+.2f})",
        f"{price.speedup:.2f}x, {price.throughput:.1f} images/s",
        f"{megabytes(price.memory_bytes)}, {price.params / 1e6:.2f} M params",
    ]
    return "<br>".join(lines)


def front(study: StudyRecord) -> go.Figure:
    """Draw accuracy against speed-up: the front, the other trials, the unpruned model."""
    data, info = front_data(study), study.info
    figure = go.Figure()
    _add(figure, data.others, "completed", marker={"color": GREY, "size": 7, "opacity": 0.5})
    _add(figure, data.stopped, "stopped early", marker=CROSS | {"opacity": 0.5})
    ring = {"symbol": "circle-open", "size": 19, "color": GREEN, "line": {"width": 2}}
    _add(figure, data.marked, "paper's removal sets and seeds", marker=ring)
    left, bottom, right, top = axes = _axes(data)
    _add_front(figure, data.front, *_labels(data.front, data.unpruned, axes))
    _add(figure, data.unpruned, "unpruned", marker={"symbol": "star", "size": 15, "color": RED})
    facts = f"{short_name(info.model)} on {short_name(info.data)}, {info.device}"
    style(figure, f"Front of {info.name}", plain(facts), height=560)
    figure.update_layout(legend={"orientation": "h", "y": -0.16}, margin_r=30)
    figure.update_xaxes(title_text="speed-up over the unpruned model (x)", range=[left, right])
    figure.update_yaxes(title_text="top-1 accuracy (%)", range=[bottom, top])
    return figure


def _add_front(figure: go.Figure, series: Series, labels: list[str], places: list[str]) -> None:
    colorbar = {
        "title": {"text": "memory (MB)", "side": "top"},
        "orientation": "h",
        **{"x": 1.0, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
        **{"len": 0.4, "thickness": 9},
        "nticks": 4,
        "outlinewidth": 0,
    }
    edge = _edge(series)
    if len(edge) > 1:
        figure.add_scatter(
            x=[x for x, _ in edge],
            y=[y for _, y in edge],
            mode="lines",
            line={"color": GREY, "dash": "dot", "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
    _add(
        figure,
        series._replace(names=labels),
        "front",
        mode="markers+text",
        textposition=places,
        textfont={"size": 11},
        # What stands at the very edge is whole.
        cliponaxis=False,
        marker={
            "color": series.memory,
            "colorscale": "Viridis",
            "colorbar": colorbar,
            "size": 12,
            "line": {"color": "rgba(255,255,255,0.8)", "width": 1},
        },
    )


def _labels(front: Series, unpruned: Series, axes: Box) -> tuple[list[str], list[str]]:
    """Return a label and its position for each point; where none is free, the label is empty.

    A label covers no point, no other label and not the star, and stays within the axes. If it can,
    it keeps clear of the dotted line, too.

    Args:
        front: The points.
        unpruned: The star.
        axes: What the axes show, in units of speed-up and points of top-1.
    """
    width, height = axes[2] - axes[0], axes[3] - axes[1]
    gap_x, gap_y = POINT * width, POINT * height
    points = list(zip(front.speedup, front.accuracy, strict=True))
    stars = zip(unpruned.speedup, unpruned.accuracy, strict=True)
    taken = [_around(point, gap_x, gap_y) for point in points]
    taken += [_around(star, STAR * width, STAR * height) for star in stars]
    line = _sampled(_edge(front))
    labels, places = [], []
    for (x, y), name in zip(points, front.names, strict=True):
        length = LETTER * len(name) * width
        candidates = {
            f"{side} {end}": (left, low, left + length, low + LINE * height)
            for side, low in (("top", y + gap_y), ("bottom", y - gap_y - LINE * height))
            for end, left in (("right", x + gap_x), ("left", x - gap_x - length))
        }
        free = [
            place
            for place, box in candidates.items()
            if _within(box, axes) and not any(_overlap(box, other) for other in taken)
        ]
        free.sort(key=lambda place: any(_overlap(candidates[place], dot) for dot in line))
        labels.append(name if free else "")
        places.append(free[0] if free else "top right")
        taken += [candidates[place] for place in free[:1]]
    return labels, places


def _around(point: tuple[float, float], gap_x: float, gap_y: float) -> Box:
    x, y = point
    return x - gap_x, y - gap_y, x + gap_x, y + gap_y


def _sampled(line: Sequence[tuple[float, float]]) -> list[Box]:
    """Return points of a line as boxes without an area."""
    shares = [step / SAMPLES for step in range(SAMPLES + 1)]
    return [
        _around((x0 + share * (x1 - x0), y0 + share * (y1 - y0)), 0, 0)
        for (x0, y0), (x1, y1) in pairwise(line)
        for share in shares
    ]


def _within(inner: Box, outer: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _edge(series: Series) -> list[tuple[float, float]]:
    """Return speed-up and top-1 of the trials that are non-dominated in these two, slowest first.

    The others are on the front because of their memory.
    """
    edge: list[tuple[float, float]] = []
    for x, y in sorted(zip(series.speedup, series.accuracy, strict=True), reverse=True):
        if not edge or y > edge[-1][1]:
            edge.append((x, y))
    return edge[::-1]


def _add(figure: go.Figure, series: Series, name: str, **look: object) -> None:
    """Add points, if there are any: an empty trace would still appear in the legend."""
    if series.names:
        figure.add_scatter(
            x=series.speedup,
            y=series.accuracy,
            text=series.names,
            hovertext=series.hover,
            hoverinfo="text",
            name=name,
            **{"mode": "markers", **look},
        )


def _axes(data: FrontData) -> Box:
    """Return what the axes show: all points, and on the right the labels of the fastest trials."""
    speedups = [x for series in data for x in series.speedup]
    accuracies = [y for series in data for y in series.accuracy]
    left, right, bottom, top = min(speedups), max(speedups), min(accuracies), max(accuracies)
    width, height = max(right - left, 0.1), max(top - bottom, 1.0)
    longest = max(map(len, data.front.names), default=0)
    return (
        left - 0.05 * width,
        bottom - 0.08 * height,
        right + (0.06 + LETTER * longest) * width,
        top + 0.1 * height,
    )
