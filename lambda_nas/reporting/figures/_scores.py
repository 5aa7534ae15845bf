"""The prior's score of each trial against its measured accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from scipy.stats import spearmanr

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import TrialRecord
from lambda_nas.reporting.figures._style import BLUE, CROSS, style

FEWEST = 3
"""Minimum number of trials: the ranks of two always correlate perfectly."""


class ScoresData(NamedTuple):
    """Score and top-1 in percent of the trials.

    Attributes:
        completed: Trials that completed all rungs, at their best rung.
        stopped: Trials that were stopped early, at their best rung.
        best: Spearman's correlation over the completed trials; ``None`` if undefined.
        first: Spearman's correlation over all trials at their first rung, which is not biased by
            early stopping.
    """

    completed: "Points"
    stopped: "Points"
    best: float | None
    first: float | None


class Points(NamedTuple):
    """Points of a scatter plot."""

    score: list[float]
    accuracy: list[float]
    names: list[str]


def scores_data(study: StudyRecord) -> ScoresData:
    """Collect the scores of the trials."""
    completed = _points([trial for trial in study.trials if trial.stopped is None])
    first = [trial.rungs[0].accuracy for trial in study.trials]
    return ScoresData(
        completed,
        _points([trial for trial in study.trials if trial.stopped is not None]),
        best=spearman(completed.score, completed.accuracy),
        first=spearman([trial.score for trial in study.trials], first),
    )


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, or ``None`` if it is undefined or trivial."""
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return float(spearmanr(x, y).statistic)


def _points(trials: Sequence[TrialRecord]) -> Points:
    return Points(
        [trial.score for trial in trials],
        [100 * trial.accuracy for trial in trials],
        [f"trial {trial.trial}: {trial.architecture}" for trial in trials],
    )


def scores(study: StudyRecord) -> go.Figure:
    """Draw measured accuracy against the prior's score; empty without trials."""
    data = scores_data(study)
    figure = go.Figure()
    for points, name, marker in (
        (data.stopped, "stopped early", CROSS),
        (data.completed, "completed", {"color": BLUE, "size": 9, "opacity": 0.8}),
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
    positive = all(score > 0 for points in (data.completed, data.stopped) for score in points.score)
    figure.update_xaxes(
        title_text="prior score: relative entropy (nats)", type="log" if positive else "linear"
    )
    if positive:
        # Plotly would write 0.02 as a small 2.
        ticks = [digit * 10.0**power for power in range(-9, 4) for digit in (1, 2, 5)]
        figure.update_xaxes(tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_yaxes(title_text="top-1 accuracy (%)")
    figure.update_layout(legend={"orientation": "h", "y": -0.2}, showlegend=True)
    return figure


def _facts(data: ScoresData) -> str:
    completed, stopped = len(data.completed.names), len(data.stopped.names)
    parts = []
    if data.best is not None:
        parts.append(f"{data.best:+.2f} over {completed} completed trials")
    if data.first is not None:
        parts.append(f"{data.first:+.2f} over all {completed + stopped} trials at their first rung")
    return "Spearman's rank correlation " + (
        "; ".join(parts) if parts else f"needs at least {FEWEST} different trials"
    )
