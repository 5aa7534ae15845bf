"""The time that a study's runs spent on each stage and rung."""

from collections import Counter
from typing import NamedTuple

import plotly.graph_objects as go

from lambda_nas.records.study import StudyRecord
from lambda_nas.reporting.figures._style import BLUE, GREY, ORANGE, plain, style
from lambda_nas.reporting.formatting import duration

REST = "Ray, sampler, store, waiting"


class TimeData(NamedTuple):
    """Wall-clock seconds of the runs.

    Attributes:
        stages: Time of each stage before the first trial, summed over the runs.
        rungs: Time of each rung, summed over the trials and divided by the number of workers.
        rest: The remaining time of the runs.
        workers: The largest number of workers of any run.
    """

    stages: dict[str, float]
    rungs: dict[int, float]
    rest: float
    workers: int


def time_data(study: StudyRecord) -> TimeData:
    """Sum the stages of the runs and the rungs of the trials."""
    stages: Counter[str] = Counter()
    for run in study.runs:
        stages.update(run.spent)
    workers = {run.id: run.info.workers for run in study.runs}
    rungs: Counter[int] = Counter()
    for trial in study.trials:
        for rung in trial.rungs:
            rungs[rung.rung] += rung.seconds / workers[trial.run]  # type: ignore[assignment]
    total = sum(run.seconds for run in study.runs)
    return TimeData(
        dict(stages),
        dict(sorted(rungs.items())),
        rest=max(0.0, total - sum(stages.values()) - sum(rungs.values())),
        workers=max(workers.values(), default=1),
    )


def time(study: StudyRecord) -> go.Figure:
    """Draw one bar per stage, one per rung, and the rest; empty if nothing was timed."""
    data = time_data(study)
    bars = [(label, seconds, GREY) for label, seconds in data.stages.items()]
    bars += [(_rung_name(rung), seconds, BLUE) for rung, seconds in data.rungs.items()]
    if study.runs:
        bars.append((REST, data.rest, ORANGE))
    figure = go.Figure()
    if any(seconds for _, seconds, _ in bars):
        figure.add_bar(
            x=[seconds for _, seconds, _ in bars],
            y=[plain(label) for label, _, _ in bars],
            marker_color=[color for *_, color in bars],
            text=[duration(seconds) for _, seconds, _ in bars],
            textposition="outside",
            cliponaxis=False,
            orientation="h",
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    style(figure, "Time spent", _facts(study, data), height=170 + 30 * len(bars))
    longest = max((seconds for _, seconds, _ in bars), default=0.0)
    # Leave room for the text beside the longest bar.
    figure.update_xaxes(title_text="seconds", range=[0, 1.4 * longest])
    figure.update_yaxes(title_text="stage or rung", autorange="reversed", showgrid=False)
    return figure


def _rung_name(rung: int) -> str:
    return "rung 0: repair" if rung == 0 else f"rung {rung}: training"


def _facts(study: StudyRecord, data: TimeData) -> str:
    if not study.runs:
        return "no run has begun"
    total = sum(run.seconds for run in study.runs)
    many = "; time of the rungs divided by the number of workers" if data.workers > 1 else ""
    return f"{duration(total)} in {len(study.runs)} run{'s'[: len(study.runs) != 1]}{many}"
