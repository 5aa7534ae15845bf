"""Figures of a study; plotly is known below this package and nowhere else.

Each figure is a function of a ``Study`` that draws what another one, ``..._data``, computes. A
figure that has nothing to show has no traces.
"""

import plotly.graph_objects as go

from lambda_nas.records.study import StudyRecord
from lambda_nas.reporting.figures._front import PAPER_SETS, FrontData, Series, front, front_data
from lambda_nas.reporting.figures._hypervolume import HypervolumeData, hypervolume, hypervolume_data
from lambda_nas.reporting.figures._layers import LayersData, layers, layers_data
from lambda_nas.reporting.figures._prior import PriorData, draw_prior, prior, prior_data
from lambda_nas.reporting.figures._saving import SUFFIXES, save
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
        study: What they show.
        prior_columns: Of the prior's panels; more than one need less height.
    """
    drawn = {
        # The unpruned model alone is no front.
        **({"The front": front(study)} if study.trials else {}),
        "What is removed": layers(study),
        "What each layer carries": prior(study, columns=prior_columns),
        "How well the prior knew": scores(study),
        "How the front grew": hypervolume(study),
        "Where the time went": time(study),
    }
    return {title: figure for title, figure in drawn.items() if figure.data}
