"""Compare a transplant and a short training with dilution given five times the steps.

Trains every removal set in every way and writes top-1 on the validation images to a JSON file after
each. Run it again to resume.

    python studies/cifar10_deit_tiny/compare.py --model local-dir:cifar10_model --data cifar10 \
        --out table.json 0,2,4 0,1,3,4,6
"""

import argparse
import json
import time
from pathlib import Path

import plotly.graph_objects as go
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.api.progress.shown import stage
from lambda_nas.api.session import RUNG_LOSSES
from lambda_nas.data.image_folder import ImageData, ImageLimits, load_images
from lambda_nas.execution.progress import in_percent
from lambda_nas.models.blockwise import check_blockwise
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import load_model
from lambda_nas.repair.transplant import transplant
from lambda_nas.reporting import figures
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.config import Augmentation, LambdaSchedule, Losses, TrainConfig
from lambda_nas.training.dilution import Compensation, dilute, finish
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

BATCH_SIZE = 64
LONGER = 5
Table = dict[str, dict[str, dict[str, float]]]
ARMS = (
    "plain removal",
    "transplant",
    "transplant, trained on labels alone",
    "transplant, trained",
    "diluted, paper",
    "diluted, none",
    "transplant, trained, 5x",
    "diluted, none, 5x",
)


class Comparison:
    """Trains in different ways on the same images, with the same teacher and losses."""

    def __init__(
        self, model: VisionTransformer, data: ImageData, options: argparse.Namespace
    ) -> None:
        self._model = model
        self._data = data
        self._options = options
        self._cache = ActivationCache(model, data.calibration)

    def run(self, arm: str, removal: RemovalSet) -> VisionTransformer:
        """Return the network that this arm of the comparison makes for the removal set."""
        if arm == "plain removal":
            return remove_attention(self._model, removal).model
        times = LONGER if "5x" in arm else 1
        if arm.startswith("transplant"):
            pruned = transplant(self._cache, removal)
            if "trained" in arm:
                losses = Losses() if "labels alone" in arm else RUNG_LOSSES
                self._train(pruned, times, LambdaSchedule(start=0.0), losses)
            return pruned
        compensation: Compensation = "paper" if "paper" in arm else "none"
        diluted = dilute(self._model, removal, compensation=compensation)
        self._train(diluted, times, LambdaSchedule(), RUNG_LOSSES)
        return finish(diluted)

    def _train(
        self, pruned: VisionTransformer, times: int, lambda_schedule: LambdaSchedule, losses: Losses
    ) -> None:
        options = self._options
        steps = times * options.steps
        config = TrainConfig(
            steps=steps,
            batch_size=BATCH_SIZE,
            lr=options.lr,
            seed=options.seed,
            lambda_schedule=lambda_schedule,
            losses=losses,
            augmentation=Augmentation(crop=0.7, hflip=0.5),
        )
        images = self._data.training
        assert images is not None
        with stage("Training", steps) as advance:
            train(pruned, images, config, teacher=self._model, on_step=lambda *_: advance())


def main() -> None:
    """Fill the table in and print it as Markdown."""
    options = _options()
    model = check_blockwise(load_model(options.model).model)
    with stage("Reading images", 100) as advance:
        limits = ImageLimits(training=50_000)
        data = load_images(options.data, model, limits=limits, on_image=in_percent(advance))
    comparison = Comparison(model, data, options)
    table = json.loads(options.out.read_text()) if options.out.exists() else {}
    if "unpruned" not in table:
        table["unpruned"] = evaluate(model, data.evaluation).top1
    for removal in options.sets:
        row = table.setdefault(str(removal), {})
        for arm in options.arms or ARMS:
            if arm in row:
                continue
            start = time.perf_counter()
            pruned = comparison.run(arm, removal)
            seconds = time.perf_counter() - start
            top1 = evaluate(pruned, data.evaluation).top1
            row[arm] = {"top1": top1, "seconds": round(seconds, 1)}
            options.out.write_text(json.dumps(table, indent=1) + "\n")
    unpruned = table.pop("unpruned")
    _print(unpruned, table)
    if options.plot:
        figures.save(_figure(unpruned, table), options.plot)


def _print(unpruned: float, table: Table) -> None:
    print(f"unpruned: {100 * unpruned:.2f}\n")
    print("| removed | " + " | ".join(ARMS) + " |\n|---" + "|---" * len(ARMS) + "|")
    for removal, row in table.items():
        cells = (f"{100 * row[arm]['top1']:.2f}" if arm in row else "" for arm in ARMS)
        print(f"| {removal} | " + " | ".join(cells) + " |")


def _figure(unpruned: float, table: Table) -> go.Figure:
    """Draw one bar per removal set and arm, and a line for the unpruned model."""
    figure = go.Figure()
    for arm in ARMS:
        rows = {removal: row[arm] for removal, row in table.items() if arm in row}
        heights = [100 * cell["top1"] for cell in rows.values()]
        if rows:
            figure.add_bar(x=list(rows), y=heights, name=arm)
    figure.add_hline(100 * unpruned, line_dash="dot", annotation_text="unpruned")
    lowest = min(100 * cell["top1"] for row in table.values() for cell in row.values())
    figure.update_layout(
        template="plotly_white",
        title="Every way to make up for removed layers, at equal steps and at five times",
        xaxis_title="removed layers",
        yaxis_title="top-1 accuracy (%)",
        yaxis_range=[lowest - 2, 100 * unpruned + 2],
        legend={"orientation": "h", "y": -0.18},
    )
    return figure


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", type=RemovalSet.parse, help="such as 0,2,4")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--plot", type=Path, help="figure, as .html, .png or .svg")
    parser.add_argument("--arms", nargs="*", choices=ARMS, help="default: all")
    parser.add_argument("--steps", type=int, default=60, help=f"of {BATCH_SIZE} images")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
