"""What the transplant wins back on DeiT-Tiny, and distillation after it; both without labels.

Mean top-1 over seeded splits of an image folder into calibration and evaluation halves.

    python benchmarks/repair.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt --distill
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from lambda_nas.cli.progress import stage
from lambda_nas.core.evaluation import evaluate
from lambda_nas.core.prefixes import PrefixStates
from lambda_nas.core.recipe import Augmentation, Fade, Losses, Recipe
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import check_supported, remove_attention
from lambda_nas.core.training import train
from lambda_nas.core.transplant import transplant
from lambda_nas.inputs.images import ImageData, load_images
from lambda_nas.inputs.models import load_model

SETS = (
    *((1, 4, 5), (0, 2, 4), (0, 2, 4, 6), (1, 4, 5, 11)),
    *((1, 3, 4, 5, 8, 11), (0, 1, 3, 4, 6), (1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5)),
)


TAUGHT_SETS = ((0, 2, 4), (0, 1, 3, 4, 6))
TAUGHT = Recipe(
    steps=100,
    batch_size=32,
    lr=2e-5,
    fade=Fade(start=0.0),
    losses=Losses(labels=0.0, logits=1.0, hidden=1.0),
    augmentation=Augmentation(crop=0.35, hflip=0.5),
)


class Bench:
    """The rows of both tables, a list of splits a removal set."""

    def __init__(self, splits: int, *, taught: bool) -> None:
        self.splits = splits
        self.taught = taught
        self.unpruned: list[float] = []
        self.repaired: dict[RemovalSet, list[tuple[float, ...]]] = {}
        self.distilled: dict[RemovalSet, list[tuple[float, ...]]] = {}

    def measure(self, model: VisionTransformer, data: ImageData, done: Callable[[], None]) -> None:
        """Add a split of the images."""
        self.unpruned.append(evaluate(model, data.evaluation).top1)
        prefixes = PrefixStates(model, data.calibration)
        # The unpruned states serve all sets: they are not part of a repair's time.
        prefixes.block_input(RemovalSet(), prefixes.depth)
        for layers in SETS:
            removal = RemovalSet.of(layers)
            plain = evaluate(remove_attention(model, removal).model, data.evaluation).top1
            start = time.perf_counter()
            repaired = transplant(prefixes, removal)
            seconds = time.perf_counter() - start
            before = evaluate(repaired, data.evaluation).top1
            self.repaired.setdefault(removal, []).append((plain, before, seconds))
            if self.taught and layers in TAUGHT_SETS:
                start = time.perf_counter()
                train(repaired, data.calibration, TAUGHT, teacher=model)
                seconds = time.perf_counter() - start
                after = evaluate(repaired, data.evaluation).top1
                self.distilled.setdefault(removal, []).append((before, after, seconds))
            done()

    def print(self) -> None:
        """Print Markdown tables, a row a removal set."""
        print(f"unpruned: {100 * statistics.mean(self.unpruned):.1f}; {self.splits} splits\n")
        print("| removed | plain removal | transplant | seconds |\n|---|---|---|---|")
        for removal, found in self.repaired.items():
            _print_row(str(removal), found)
        _print_row("mean", [values for found in self.repaired.values() for values in found])
        if self.taught:
            print("\n| removed | transplant | then distilled | seconds |\n|---|---|---|---|")
            for removal, found in self.distilled.items():
                _print_row(str(removal), found)


def main() -> None:
    """Measure, then print."""
    options = _options()
    model = check_supported(load_model(options.model).model)
    bench = Bench(options.splits, taught=options.distill)
    with stage("Repairing", options.splits * len(SETS)) as advance:
        for seed in range(options.splits):
            data = load_images(options.data, model, class_map=options.class_map, seed=seed)
            bench.measure(model, data, advance)
    bench.print()


def _print_row(name: str, found: list[tuple[float, ...]]) -> None:
    plain, top1, seconds = map(statistics.mean, zip(*found, strict=True))
    print(f"| {name} | {100 * plain:.1f} | {100 * top1:.1f} | {seconds:.1f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--distill", action="store_true", help="minutes more for two of the sets")
    return parser.parse_args()


if __name__ == "__main__":
    main()
