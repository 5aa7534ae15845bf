"""What the prior said of each trial against what was measured."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from scipy.stats import spearmanr

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import TrialRecord
from lambda_nas.reporting.figures._style import BLUE, CROSS, style

FEWEST = 3
"""Ranks of fewer points always correlate."""


class ScoresData(NamedTuple):
    """Score and top-1 in percent of the trials whose score is known.

    Attributes:
        ended: Trials that went to the end, at their best rung.
        stopped: Trials that were stopped early, at their best rung.
        best: Spearman's correlation of those that went to the end; ``None`` if it has none.
        first: That of all trials at their first rung: all are there, so none is left out for
            being bad.
    """

    ended: "Points"
    stopped: "Points"
    best: float | None
    first: float | None


class Points(NamedTuple):
    """Points of a scatter plot."""

    score: list[float]
    accuracy: list[float]
    names: list[str]


def scores_data(study: StudyRecord) -> ScoresData:
    """Collect the trials with a score."""
    scored = [trial for trial in study.trials if trial.score is not None]
    ended = _points([trial for trial in scored if trial.stopped is None])
    first = [trial.rungs[0].accuracy for trial in scored]
    return ScoresData(
        ended,
        _points([trial for trial in scored if trial.stopped is not None]),
        best=spearman(ended.score, ended.accuracy),
        first=spearman([_score(trial) for trial in scored], first),
    )


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the rank correlation, or ``None`` where it says nothing."""
    if len(one) < FEWEST or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    return float(spearmanr(one, other).statistic)


def _points(trials: Sequence[TrialRecord]) -> Points:
    return Points(
        [_score(trial) for trial in trials],
        [100 * trial.accuracy for trial in trials],
        [f"trial {trial.trial}: {trial.architecture}" for trial in trials],
    )


def _score(trial: TrialRecord) -> float:
    return math.nan if trial.score is None else trial.score


def scores(study: StudyRecord) -> go.Figure:
    """Draw measured accuracy against the prior's score; empty if no score is known."""
    data = scores_data(study)
    figure = go.Figure()
    for points, name, marker in (
        (data.stopped, "stopped early", CROSS),
        (data.ended, "went to the end", {"color": BLUE, "size": 9, "opacity": 0.8}),
    ):
        if points.names:
            figure.add_scatter(
                x=points.score,
                y=points.accuracy,
                text=points.names,
                name=name,
                mode="markers",
                marker=marker,
                hovertemplate="%{text}<br>%{y:.2f}% at %{x:.4g} nats<extra></extra>",
            )
    style(figure, "Prior score and measured accuracy", _facts(data))
    positive = all(score > 0 for points in (data.ended, data.stopped) for score in points.score)
    figure.update_xaxes(
        title_text="relative entropy of the removal (nats)", type="log" if positive else "linear"
    )
    if positive:
        figure.update_xaxes(dtick="D2")
    figure.update_yaxes(title_text="top-1 accuracy (%)")
    figure.update_layout(legend={"orientation": "h", "y": -0.2}, showlegend=True)
    return figure


def _facts(data: ScoresData) -> str:
    ended, every = len(data.ended.names), len(data.ended.names) + len(data.stopped.names)
    parts = []
    if data.best is not None:
        parts.append(f"{data.best:+.2f} over {ended} trials that went to the end")
    if data.first is not None:
        parts.append(f"{data.first:+.2f} over all {every} at their first rung")
    return "Spearman's rank correlation " + (
        "; ".join(parts) if parts else f"needs {FEWEST} different trials"
    )
