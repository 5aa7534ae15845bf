"""Figures of a study.

Each figure is drawn by a function of a ``StudyRecord``, from the data that a second function,
``..._data``, computes. A figure that has nothing to show has no traces.
"""

import plotly.graph_objects as go

from lambda_nas.records.study import StudyRecord
from lambda_nas.reporting.figures._front import PAPER_SETS, FrontData, Series, front, front_data
from lambda_nas.reporting.figures._hypervolume import HypervolumeData, hypervolume, hypervolume_data
from lambda_nas.reporting.figures._layers import LayersData, layers, layers_data
from lambda_nas.reporting.figures._prior import PriorData, draw_prior, prior, prior_data
from lambda_nas.reporting.figures._saving import SUFFIXES, check_target, save
from lambda_nas.reporting.figures._scores import ScoresData, scores, scores_data, spearman
from lambda_nas.reporting.figures._time import REST, TimeData, time, time_data

__all__ = [
    "PAPER_SETS",
    "REST",
    "SUFFIXES",
    "FrontData",
    "HypervolumeData",
    "LayersData",
    "PriorData",
    "ScoresData",
    "Series",
    "TimeData",
    "all_figures",
    "check_target",
    "draw_prior",
    "front",
    "front_data",
    "hypervolume",
    "hypervolume_data",
    "layers",
    "layers_data",
    "prior",
    "prior_data",
    "save",
    "scores",
    "scores_data",
    "spearman",
    "time",
    "time_data",
]


def all_figures(study: StudyRecord, *, prior_columns: int = 1) -> dict[str, go.Figure]:
    """Draw all figures that have something to show, by title.

    Args:
        study: The study.
        prior_columns: Columns of panels in the figure of the prior; more need less height.
    """
    drawn = {
        # The unpruned model alone is not a front.
        **({"Pareto front": front(study)} if study.trials else {}),
        "Removed layers": layers(study),
        "Prior of each layer": prior(study, columns=prior_columns),
        "Prior score and accuracy": scores(study),
        "Hypervolume": hypervolume(study),
        "Time spent": time(study),
    }
    return {title: figure for title, figure in drawn.items() if figure.data}
