"""Judge each score of a removal set by the exhaustive evaluation that `oracle.py` wrote.

Prints, for each way to remove, how well each score orders all sets, and those of each size, by
their accuracy (Spearman's correlation, its sign turned so that 1.00 is perfect), and the points of
accuracy that are lost by taking the set that the score likes best instead of the best of its size.
Scores are of the calibration images, accuracies of the evaluation images.

    python benchmarks/priors.py studies/oracle_digits/table.npz \
        --plot studies/oracle_digits/priors.png --json studies/oracle_digits/priors.json
"""

import argparse
import json
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from exhaustive import code_of
from oracle_table import OracleTable
from plotly.subplots import make_subplots
from prior_scores import Fixed, Quality, Score, block_runs, ceiling, fixed, judge, scores

from lambda_nas.reporting import figures

TITLES = {"removal": "plain removal", "transplant": "after the transplant"}
LINES = {
    "relative entropy": ("#3b6fb6", "solid"),
    "feature error": ("#e08a2e", "solid"),
    "relative entropy x feature error": ("#2f9e78", "solid"),
    "abs. transfer entropy": ("#d9534f", "solid"),
    "relative entropy, layers": ("#3b6fb6", "dot"),
    "relative entropy, predicted": ("#3b6fb6", "dash"),
    "accuracy drop, layers": ("#8a5fbf", "dot"),
}
SYMBOLS = ("star", "diamond", "cross", "triangle-up")
SCATTERED = ("relative entropy", "feature error")


def main() -> None:
    """Print the tables, and write what is asked for."""
    options = _options()
    table = OracleTable.load(options.table)
    found = scores(table)
    judged = {repair: judge(found, table, repair) for repair in table.repairs}
    for repair in table.repairs:
        print(f"### {TITLES[repair].capitalize()}\n")
        _print_scores(found, judged[repair], ceiling(table, repair), len(table.layers))
        _print_fixed(fixed(table, repair))
    if options.json:
        values = {
            repair: dict(zip((score.name for score in found), map(_values, qualities), strict=True))
            for repair, qualities in judged.items()
        }
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.plot:
        figures.save(_figure(found, judged, table), options.plot)


def _print_scores(
    found: Sequence[Score],
    qualities: Sequence[Quality],
    most: dict[int, float],
    layers: int,
) -> None:
    titles = ["score", "sets", "blocks", "overall", "mean", "±", "regret"]
    _print_row([*titles, *map(str, most)])
    print("|---" + "|---:" * (len(titles) + len(most) - 1) + "|")
    for score, quality in zip(found, qualities, strict=True):
        cost = [str(len(score.run)), str(block_runs(score.run, layers))]
        fit = [f"{quality.overall:.3f}", f"{quality.mean:.3f}", f"{quality.doubt:.3f}"]
        name = score.name + (" (labels)" if score.labels else "")
        _print_row([name, *cost, *fit, f"{100 * quality.regret:.2f}", *_two(quality.by_size)])
    _print_row(["*most possible*", *[""] * (len(titles) - 1), *_two(most)])
    print()


def _print_fixed(found: Sequence[Fixed]) -> None:
    _print_row(["the paper's", "top-1", "rank", "of", "best", "by relative entropy", "top-1"])
    print("|---" + "|---:" * 4 + "|---|---:|")
    for removal, top1, rank, sets, best, rival, rival_top1 in found:
        numbers = [f"{100 * top1:.1f}", str(rank), str(sets), f"{100 * best:.1f}"]
        _print_row([str(removal), *numbers, str(rival), f"{100 * rival_top1:.1f}"])
    print()


def _print_row(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |")


def _two(by_size: dict[int, float]) -> list[str]:
    return ["–" if isnan(value) else f"{value:.2f}" for value in by_size.values()]


def _values(quality: Quality) -> dict[str, object]:
    """Return JSON values, in which NaN is null."""
    by_size = {size: None if isnan(fit) else fit for size, fit in quality.by_size.items()}
    return {**quality._asdict(), "by_size": by_size}


def _figure(
    found: Sequence[Score], judged: dict[str, list[Quality]], table: OracleTable
) -> go.Figure:
    """Draw Spearman by size, one line per score, above some scores against the accuracy."""
    panels = [["Spearman within each size", *SCATTERED] for _ in table.repairs]
    titles = [
        f"{title}, {TITLES[repair]}"
        for panel in zip(*panels, strict=True)
        for title, repair in zip(panel, table.repairs, strict=True)
    ]
    figure = make_subplots(
        rows=1 + len(SCATTERED),
        cols=len(table.repairs),
        subplot_titles=titles,
        shared_yaxes=True,
        row_heights=[0.4, *[0.6 / len(SCATTERED)] * len(SCATTERED)],
        vertical_spacing=0.07,
        horizontal_spacing=0.03,
    )
    for column, repair in enumerate(table.repairs, 1):
        _add_lines(figure, found, judged[repair], ceiling(table, repair), column)
        for row, name in enumerate(SCATTERED, 2):
            (score,) = (score for score in found if score.name == name)
            _add_sets(figure, score, table, repair, row, column)
    drawn = [line.y for line in figure.select_traces(row=1)]
    lowest = min(0.0, np.nanmin(drawn) - 0.05)
    figure.update_yaxes(title_text="Spearman, sign turned", range=[lowest, 1.02], row=1, col=1)
    figure.update_xaxes(title_text="layers removed", dtick=1, row=1)
    for row, name in enumerate(SCATTERED, 2):
        figure.update_yaxes(title_text="top-1 (%)", range=[0, 100], row=row, col=1)
        unit = " (nats)" if name == "relative entropy" else ""
        figure.update_xaxes(title_text=name + unit, type="log", dtick=1, row=row)
    model, data = (str(table.about[name]).rpartition("/")[2] for name in ("model", "data"))
    figure.update_annotations(font_size=13)
    figure.update_layout(
        template="plotly_white",
        title=f"Scores of all removal sets: {model} on {data}",
        height=1250,
        coloraxis={
            "colorscale": "Viridis",
            "colorbar": {"title": "layers<br>removed", "len": 0.55, "y": 0.0, "yanchor": "bottom"},
        },
        legend={"orientation": "h", "y": -0.06},
    )
    return figure


def _add_lines(
    figure: go.Figure,
    found: Sequence[Score],
    qualities: Sequence[Quality],
    most: dict[int, float],
    column: int,
) -> None:
    lines = {
        score.name: (quality.by_size, *LINES[score.name])
        for score, quality in zip(found, qualities, strict=True)
        if score.name in LINES
    }
    lines["most possible"] = (most, "#9aa3ad", "dash")
    for name, (by_size, color, dash) in lines.items():
        figure.add_scatter(
            x=list(by_size),
            y=list(by_size.values()),
            name=name,
            mode="lines+markers",
            line={"color": color, "dash": dash},
            legendgroup=name,
            showlegend=column == 1,
            row=1,
            col=column,
        )


def _add_sets(
    figure: go.Figure, score: Score, table: OracleTable, repair: str, row: int, column: int
) -> None:
    accuracy = 100 * table.accuracy(repair)
    # The empty set has no place on a logarithmic axis.
    figure.add_scatter(
        x=score.values[1:].tolist(),
        y=accuracy[1:].tolist(),
        mode="markers",
        marker={"color": table.sizes[1:].tolist(), "coloraxis": "coloraxis", "size": 3},
        showlegend=False,
        row=row,
        col=column,
    )
    for symbol, choice in zip(SYMBOLS, fixed(table, repair), strict=False):
        code = code_of(choice.removal, table.layers)
        figure.add_scatter(
            x=[score.values[code]],
            y=[accuracy[code]],
            name=f"the paper's {choice.removal}",
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": "#d9534f"},
            legendgroup=symbol,
            showlegend=(row, column) == (2, 1),
            row=row,
            col=column,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--plot", type=Path, help="figure, as .html, .png or .svg")
    parser.add_argument("--json", type=Path, help="the same numbers for a machine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
