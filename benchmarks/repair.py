"""What the transplant wins back on DeiT-Tiny, without labels or training.

Mean top-1 over seeded splits of an image folder into calibration and evaluation halves.

    python benchmarks/repair.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt
"""

import argparse
import statistics
import time
from pathlib import Path

from lambda_nas.cli.progress import stage
from lambda_nas.core.evaluation import evaluate
from lambda_nas.core.prefixes import PrefixStates
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import remove_attention
from lambda_nas.core.transplant import transplant
from lambda_nas.inputs.images import load_images
from lambda_nas.inputs.models import load_model

SETS = (
    *((1, 4, 5), (0, 2, 4), (0, 2, 4, 6), (1, 4, 5, 11)),
    *((1, 3, 4, 5, 8, 11), (0, 1, 3, 4, 6), (1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5)),
)


def main() -> None:
    """Print a Markdown table, a row a removal set."""
    options = _options()
    model = load_model(options.model).model
    rows: dict[RemovalSet, list[tuple[float, float, float]]] = {}
    unpruned = []
    with stage("Repairing", options.splits * len(SETS)) as advance:
        for seed in range(options.splits):
            data = load_images(options.data, model, class_map=options.class_map, seed=seed)
            unpruned.append(evaluate(model, data.evaluation).top1)
            prefixes = PrefixStates(model, data.calibration)
            # The unpruned states serve all sets: they are not part of a repair's time.
            prefixes.block_input(RemovalSet(), prefixes.depth)
            for removal in map(RemovalSet.of, SETS):
                plain = evaluate(remove_attention(model, removal).model, data.evaluation).top1
                start = time.perf_counter()
                repaired = transplant(prefixes, removal)
                seconds = time.perf_counter() - start
                top1 = evaluate(repaired, data.evaluation).top1
                rows.setdefault(removal, []).append((plain, top1, seconds))
                advance()
    print(f"unpruned: {100 * statistics.mean(unpruned):.1f}; {options.splits} splits\n")
    print("| removed | plain removal | transplant | seconds |\n|---|---|---|---|")
    for removal, found in rows.items():
        _print_row(str(removal), found)
    _print_row("mean", [values for found in rows.values() for values in found])


def _print_row(name: str, found: list[tuple[float, float, float]]) -> None:
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
    return parser.parse_args()


if __name__ == "__main__":
    main()
