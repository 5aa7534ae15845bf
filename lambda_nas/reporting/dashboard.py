"""A study's note and plots in the Optuna dashboard."""

import re

import optuna
import plotly.graph_objects as go
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting import figures
from lambda_nas.reporting.formatting import command, megabytes, percent, storage_hint
from lambda_nas.reporting.glossary import FIGURES
from lambda_nas.reporting.markdown import code

# Link definitions without references, which Markdown does not show.
_BEGIN, _END = "[//]: # (lambda-nas begins)", "[//]: # (lambda-nas ends)"
_BLOCK = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)

_FIRST = ("Removed layers", "Prior of each layer")


def _key(title: str) -> str:
    """Return the key of the figure of that title in the dashboard."""
    return re.sub(r"\W+", "-", title).strip("-").lower()


ORDER = tuple(map(_key, sorted(FIGURES, key=lambda title: title not in _FIRST)))
"""The keys of our plots in the order in which they are shown."""

_READING = """\
*Removed layers on the front* and *Prior*, the first two of our plots, show which layers matter. Our
plots stand below Optuna's. Some of Optuna's mislead here, because prices are known before a trial
and the search does not sample at random:

- *Hyperparameter Importance* of throughput and memory shows which layers the search happened to
  vary: both depend only on how many layers are removed in each stage of the model and on how
  tokens are merged. That of accuracy compares layers that were mostly removed together.
- *History* of throughput and memory shows at which prices the search looked, not whether it got
  better.
- *Timeline* shows the proposals that the gate rejected as pruned trials; they never ran.
- *EDF* and *Contour* describe what the search chose, not what there is to choose."""

# Legible in the dashboard's light and dark themes.
_FONT = "#77818b"


def publish(study: StudyRecord, optuna_study: optuna.Study, storage: str) -> None:
    """Replace the note and the plots in the dashboard.

    Call this in one transaction: both are stored in parts, and half of a plot can't be drawn.

    Args:
        study: The study to show.
        optuna_study: Its Optuna study, which holds the note and the plots.
        storage: The database's URL.
    """
    save_note(optuna_study, merge_note(get_note(optuna_study), write_note(study, storage)))
    for title, figure in figures.all_figures(study, prior_columns=2).items():
        save_plotly_graph_object(optuna_study, _fitted(figure), graph_object_id=_key(title))


def merge_note(there: str, ours: str) -> str:
    """Replace our part of the note, and keep what people wrote around it."""
    block = f"{_BEGIN}\n\n{ours}\n\n{_END}"
    if _BLOCK.search(there):
        return _BLOCK.sub(lambda _: block, there, count=1)
    return f"{block}\n\n{there}" if there.strip() else f"{block}\n"


def write_note(study: StudyRecord, storage: str) -> str:
    """Return the note in Markdown: the study, its front, and commands for it."""
    info, base, name = study.info, study.info.baseline, study.info.name
    hint = f" ({storage_hint(storage)})" if storage_hint(storage) else ""
    lines = [
        f"**{code(info.model)}** on {code(info.data)}, priced on {code(info.device)}",
        "",
        f"Unpruned: top-1 {percent(info.baseline_accuracy)}, {base.throughput:.1f} images/s, "
        f"{megabytes(base.memory_bytes)}, {base.params / 1e6:.2f} M parameters",
        "",
        *_front_table(study.front),
        _READING,
        "",
        f"Next steps{hint}:",
        "",
        *([f"- resume the search: {code(study.runs[-1].info.command)}"] if study.runs else []),
        f"- write a report on one page: "
        f"{code(command('report', name, '--out', 'report.html', storage=storage))}",
        f"- export a model: "
        f"{code(command('export', name, '--max-drop', 1, '--out', 'exported', storage=storage))}",
        "",
        "*`lambda-nas` updates the note up to here; it keeps what you write below.*",
    ]
    return "\n".join(lines)


def _front_table(front: tuple[ParetoTrial, ...]) -> list[str]:
    if not front:
        return ["No trial has finished yet.", ""]
    return [
        "| trial | architecture | top-1 | speed-up | memory |",
        "|---:|:---|---:|---:|---:|",
        *(
            f"| {point.trial} | {code(str(point.architecture))} | {percent(point.accuracy)} "
            f"| {point.price.speedup:.2f}x | {megabytes(point.price.memory_bytes)} |"
            for point in front
        ),
        "",
    ]


def _fitted(figure: go.Figure) -> go.Figure:
    """Fit a figure into the dashboard's panels, 450 pixels high and half a page wide."""
    return go.Figure(figure).update_layout(height=None, font_color=_FONT, font_size=11)
