"""Measure what token merging gains and costs on top of a removal set repaired without training.

    python benchmarks/merging.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt

Half of the images calibrate the repair, the other half are classified. All prices come from one run
in which the models take turns; each is compared with the unpruned model of the same round.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from lambda_nas.cost.measurement import Price, measure_prices
from lambda_nas.data.image_folder import load_images
from lambda_nas.models.blockwise import check_blockwise
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.pretrained.loading import load_model
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.evaluation import evaluate

COLUMNS = ("model", "top-1", "speed-up", "images/s", "memory MB", "MACs G")


def main() -> None:
    """Print a Markdown table with one row per model."""
    options = _options()
    unpruned = check_blockwise(load_model(options.model).model)
    data = load_images(options.data, unpruned, class_map=options.class_map)
    repaired = transplant(ActivationCache(unpruned, data.calibration), options.removed)
    models: dict[str, nn.Module] = {"unpruned": unpruned}
    for r in options.merged:
        models[f"{options.removed}, r = {r}"] = merge_tokens(repaired, Merging(r))
    sample = torch.rand(options.batch_size, *unpruned.pretrained_cfg["input_size"])
    prices = measure_prices(list(models.values()), [sample] * len(models))
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for (name, model), price in zip(models.items(), prices, strict=True):
        print(_row(name, evaluate(model, data.evaluation).top1, price), flush=True)
    print(
        f"\ntop-1 on {len(data.evaluation)} images; prices at batch size {options.batch_size} with "
        f"{torch.get_num_threads()} thread(s)"
    )


def _row(name: str, top1: float, price: Price) -> str:
    cells = (
        name,
        f"{100 * top1:.1f}",
        f"{price.speedup:.2f}x",
        f"{price.throughput:.1f}",
        f"{price.memory_bytes / 1e6:.1f}",
        f"{price.macs / 1e9:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--removed", type=RemovalSet.parse, default=RemovalSet.of((0, 2, 4)))
    parser.add_argument("--merged", nargs="+", type=int, default=(0, 8, 13, 16, 19))
    parser.add_argument("--batch-size", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    main()
