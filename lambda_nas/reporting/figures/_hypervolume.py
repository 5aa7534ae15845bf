"""The hypervolume of the front over the trials and over time."""

from itertools import accumulate
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lambda_nas.records.front import hypervolume as volume_of
from lambda_nas.records.front import non_dominated
from lambda_nas.records.run import Run
from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial, TrialRecord
from lambda_nas.reporting.figures._style import BLUE, style

_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))


class HypervolumeData(NamedTuple):
    """Hypervolume after each evaluated trial.

    Attributes:
        by_trial: Hypervolume after each trial, in the order of their numbers.
        seconds: Run time until each trial was recorded, ascending, with earlier runs included.
        by_time: Hypervolume after each of these trials.
    """

    by_trial: list[float]
    seconds: list[float]
    by_time: list[float]


def hypervolume_data(study: StudyRecord) -> HypervolumeData:
    """Compute the hypervolume over the trials and over the run time."""
    before = _seconds_before(study.runs)
    timed = sorted(
        ((before[trial.run] + trial.elapsed_s, trial) for trial in study.trials),
        key=lambda pair: (pair[0], pair[1].trial),
    )
    return HypervolumeData(
        _growth(study, list(study.trials)),
        [seconds for seconds, _ in timed],
        _growth(study, [trial for _, trial in timed]),
    )


def _seconds_before(runs: tuple[Run, ...]) -> dict[int, float]:
    """Return for each run how long the earlier runs lasted in total."""
    starts = accumulate((run.seconds for run in runs), initial=0.0)
    return {run.id: start for run, start in zip(runs, starts, strict=False)}


def _growth(study: StudyRecord, trials: list[TrialRecord]) -> list[float]:
    """Return the hypervolume after each trial; a trial stopped early adds nothing."""
    front: list[ParetoTrial] = []
    volumes = [0.0]
    for trial in trials:
        grown = front
        if trial.stopped is None:
            grown = non_dominated([*front, study.pareto_trial(trial)])
        same = len(grown) == len(front) and set(grown) == set(front)
        volumes.append(volumes[-1] if same else volume_of(grown, study.info.baseline))
        front = grown
    return volumes[1:]


def hypervolume(study: StudyRecord) -> go.Figure:
    """Draw the hypervolume over trials and over time; empty without trials."""
    data = hypervolume_data(study)
    rows = 2 if data.seconds else 1
    figure = make_subplots(rows=rows, cols=1, vertical_spacing=0.22)
    if data.by_trial:
        _add(figure, list(range(1, len(data.by_trial) + 1)), data.by_trial, row=1)
    facts = "volume of (accuracy, speed-up, saved share of memory) that the front dominates"
    style(figure, "Hypervolume", facts, height=140 + 230 * rows)
    figure.update_xaxes(title_text="evaluated trials", row=1, col=1)
    if data.seconds:
        size, unit = next(
            pair for pair in _UNITS if data.seconds[-1] >= 2 * pair[0] or pair[0] == 1
        )
        _add(figure, [seconds / size for seconds in data.seconds], data.by_time, row=2)
        figure.update_xaxes(title_text=f"run time ({unit})", row=2, col=1)
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume")
    figure.update_layout(showlegend=False)
    return figure


def _add(figure: go.Figure, x: list[float] | list[int], y: list[float], *, row: int) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        marker_size=5,
        line={"shape": "hv", "color": BLUE},
        hovertemplate="%{y:.4f} at %{x:.4g}<extra></extra>",
        row=row,
        col=1,
    )
