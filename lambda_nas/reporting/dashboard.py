"""A study's note and plots in the Optuna dashboard, for those who begin there."""

import re

import optuna
import plotly.graph_objects as go
from optuna_dashboard import get_note, save_note, save_plotly_graph_object

from lambda_nas.records.study import StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting import figures
from lambda_nas.reporting.formatting import command, without_passwords

# Link definitions that nothing refers to: Markdown shows nothing of them.
_BEGIN, _END = "[//]: # (lambda-nas begins)", "[//]: # (lambda-nas ends)"
_BLOCK = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)

# Legible on the dashboard's white and on its black.
_FONT = "#77818b"


def publish(study: StudyRecord, optuna_study: optuna.Study, storage: str) -> None:
    """Write the note and the plots, in place of those of before.

    Do it in one transaction: both are stored in pieces, and half of a plot can't be drawn.

    Args:
        study: What is told of.
        optuna_study: Where it is told.
        storage: The database's URL.
    """
    save_note(optuna_study, merge_note(get_note(optuna_study), write_note(study, storage)))
    for title, figure in figures.all_figures(study, prior_columns=2).items():
        key = re.sub(r"\W+", "-", title).strip("-").lower()
        save_plotly_graph_object(optuna_study, _fitted(figure), graph_object_id=key)


def merge_note(there: str, ours: str) -> str:
    """Put our part in the place of the one of before, and keep what people wrote around it."""
    block = f"{_BEGIN}\n\n{ours}\n\n{_END}"
    if _BLOCK.search(there):
        return _BLOCK.sub(lambda _: block, there, count=1)
    return f"{block}\n\n{there}" if there.strip() else f"{block}\n"


def write_note(study: StudyRecord, storage: str) -> str:
    """Return what the study is about and what can be done with it, in Markdown."""
    info, base, name = study.info, study.info.baseline, study.info.name
    lines = [
        f"**{_code(info.model)}** on {_code(info.data)}, priced on {_code(info.device)}",
        "",
        f"Unpruned: top-1 {100 * info.baseline_accuracy:.2f}%, {base.throughput:.1f} images/s, "
        f"{base.memory_bytes / 1e6:.1f} MB, {base.params / 1e6:.2f} M parameters",
        "",
        *_front_table(study.front),
        "What to do with it:",
        "",
        *([f"- go on: {_code(study.runs[-1].info.command)}"] if study.runs else []),
        f"- read all of it on one page: "
        f"{_code(command('report', name, '--out', 'report.html', storage=storage))}",
        f"- take a model away: "
        f"{_code(command('export', name, '--max-drop', 1, '--out', 'exported', storage=storage))}",
        "",
        "*`lambda-nas` renews the note up to here; what you write below stays.*",
    ]
    return "\n".join(lines)


def _front_table(front: tuple[ParetoTrial, ...]) -> list[str]:
    if not front:
        return ["No trial has finished yet.", ""]
    return [
        "| trial | removed layers | top-1 | speed-up | memory |",
        "|---:|:---|---:|---:|---:|",
        *(
            f"| {point.trial} | {_code(str(point.architecture))} | {100 * point.accuracy:.2f}% "
            f"| {point.price.speedup:.2f}x | {point.price.memory_bytes / 1e6:.1f} MB |"
            for point in front
        ),
        "",
    ]


def _code(text: str) -> str:
    """Quote a name or command so that nothing in it is Markdown, and no password is told."""
    text = " ".join(without_passwords(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def _fitted(figure: go.Figure) -> go.Figure:
    """Fit a figure into the dashboard's boxes, which are 450 pixels high and half a page wide."""
    return go.Figure(figure).update_layout(height=None, font_color=_FONT, font_size=11)
