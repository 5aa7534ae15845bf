"""Measure what the transplant, and distillation after it, restore on DeiT-Tiny without labels.

Prints the mean top-1 over seeded splits of an image folder into calibration and evaluation halves.

    python benchmarks/repair.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt

    python benchmarks/repair.py ... --sets 0,2,4 0,1,3,4,6 --distill
"""

import argparse
import statistics
import time
from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from lambda_nas.api.progress.shown import stage
from lambda_nas.data.image_folder import ImageData, load_images
from lambda_nas.models.blockwise import check_blockwise
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import load_model
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.config import Augmentation, LambdaSchedule, Losses, TrainConfig
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

SETS = (
    *((1, 4, 5), (0, 2, 4), (0, 2, 4, 6), (1, 4, 5, 11)),
    *((1, 3, 4, 5, 8, 11), (0, 1, 3, 4, 6), (1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5)),
)

TAUGHT = TrainConfig(
    steps=100,
    batch_size=32,
    lr=2e-5,
    lambda_schedule=LambdaSchedule(start=0.0),
    losses=Losses(labels=0.0, logits=1.0, hidden=10.0),
    augmentation=Augmentation(crop=0.35, hflip=0.5),
)


def main() -> None:
    """Print a Markdown table with one row per removal set."""
    options = _options()
    model = check_blockwise(load_model(options.model).model)
    rows: dict[RemovalSet, list[list[float]]] = {removal: [] for removal in options.sets}
    unpruned = []
    with stage("Repairing", options.splits * len(rows)) as advance:
        for seed in range(options.splits):
            data = load_images(options.data, model, class_map=options.class_map, seed=seed)
            unpruned.append(evaluate(model, data.evaluation).top1)
            cache = ActivationCache(model, data.calibration)
            # The unpruned states serve all sets: they are not part of a repair's time.
            cache.stream(RemovalSet(), cache.depth)
            for removal, found in rows.items():
                found.append(_measure(cache, removal, data, distill=options.distill))
                advance()
    print(f"unpruned: {100 * statistics.mean(unpruned):.1f}; {options.splits} splits\n")
    columns = ["removed", "plain removal", "transplant", "seconds"]
    columns += ["then distilled", "seconds"] if options.distill else []
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for removal, found in rows.items():
        _print_row(str(removal), found)
    _print_row("mean", [values for found in rows.values() for values in found])


def _measure(
    cache: ActivationCache, removal: RemovalSet, data: ImageData, *, distill: bool
) -> list[float]:
    """Return top-1 and seconds in the order of the table's columns."""
    model = cache.model
    plain = evaluate(remove_attention(model, removal).model, data.evaluation).top1
    start = time.perf_counter()
    repaired = transplant(cache, removal)
    values = [plain, *_top1_and_seconds(repaired, data, start)]
    if distill:
        start = time.perf_counter()
        train(repaired, data.calibration, TAUGHT, teacher=model)
        values += _top1_and_seconds(repaired, data, start)
    return values


def _top1_and_seconds(model: VisionTransformer, data: ImageData, start: float) -> list[float]:
    seconds = time.perf_counter() - start
    return [evaluate(model, data.evaluation).top1, seconds]


def _print_row(name: str, found: list[list[float]]) -> None:
    plain, *pairs = map(statistics.mean, zip(*found, strict=True))
    cells = [f"{100 * plain:.1f}"]
    for top1, seconds in zip(pairs[::2], pairs[1::2], strict=True):
        cells += [f"{100 * top1:.1f}", f"{seconds:.1f}"]
    print(f"| {name} | " + " | ".join(cells) + " |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument(
        "--sets", nargs="+", type=RemovalSet.parse, default=list(map(RemovalSet.of, SETS))
    )
    parser.add_argument("--distill", action="store_true", help="takes minutes more per set")
    return parser.parse_args()


if __name__ == "__main__":
    main()
