"""Compare the computed prices of architectures that merge tokens with timings.

    python benchmarks/merged_prices.py deit_tiny_patch16_224-imagenet500

Times the members of a study's front, all in turn within each round.
"""

import argparse

import torch

from lambda_nas.cost.measurement import measure_prices
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import load_model
from lambda_nas.store import DEFAULT_STORAGE
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.token_merging.blocks import merge_tokens


def main() -> None:
    """Print a Markdown table with one row per member."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    options = parser.parse_args()
    study = SqlStudyStore.open(options.storage, create=False).load(options.study)
    unpruned = load_model(study.info.model).model
    models = [unpruned]
    for point in study.front:
        pruned = remove_attention(unpruned, point.removal).model
        models.append(merge_tokens(pruned, point.architecture.merging))
    batch_size = int(str(study.info.settings["batch_size"]))
    sample = torch.rand(batch_size, *unpruned.pretrained_cfg["input_size"])
    timed = measure_prices(models, [sample] * len(models))[1:]
    print("| architecture | price | timed | memory and MACs |\n|---|---|---|---|")
    for point, price in zip(study.front, timed, strict=True):
        exact = (price.memory_bytes, price.macs) == (point.price.memory_bytes, point.price.macs)
        print(
            f"| {point.architecture} | {point.price.speedup:.2f}x | {price.speedup:.2f}x | "
            f"{'equal' if exact else 'differ'} |"
        )


if __name__ == "__main__":
    main()
