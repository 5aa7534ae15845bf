"""Test on the digits whether relative entropy is a better score after the transplant.

This costs as much as rung 0, so only a seeded sample of each size is measured. Prints
Spearman's correlation (sign turned) of four scores with the accuracy after the transplant.

    python benchmarks/priors_repaired.py studies/oracle_digits/table.npz
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from oracle_table import OracleTable
from prior_scores import rows, scores, spearman

from lambda_nas.api.inputs.source import find_source
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import UNPRUNED, ActivationCache
from lambda_nas.scoring.entropy import relative_entropy

SCORES = ("relative entropy", "relative entropy x feature error", "accuracy drop")


def main() -> None:
    """Print a Markdown table with one row per size."""
    options = _options()
    table = OracleTable.load(options.table)
    source = find_source(model=None, data=None).read(Quiet().stage)
    cache = ActivationCache(source.model.model, source.data.calibration)
    _, unpruned = cache.head(UNPRUNED)
    images, _ = next(source.data.calibration.batches(len(source.data.calibration)))
    known = {score.name: score.values for score in scores(table)}
    random, accuracy = np.random.default_rng(0), table.accuracy("transplant")
    print(f"| layers removed | sets | after the transplant | {' | '.join(SCORES)} | s a set |")
    print("|---:" * (4 + len(SCORES)) + "|")
    for size, alike in rows(table).items():
        codes = random.choice(alike, min(options.sets, len(alike)), replace=False)
        start, after = time.perf_counter(), []
        for code in codes:
            with torch.inference_mode():
                logits = transplant(cache, table.sets[code])(images)
            after.append(relative_entropy(unpruned.double(), logits.double()).item())
        seconds = (time.perf_counter() - start) / len(codes)
        values = [np.array(after), *(known[name][codes] for name in SCORES)]
        (found,) = spearman(values, accuracy[codes], [np.arange(len(codes))])
        cells = " | ".join(f"{value:.2f}" for value in [*found, seconds])
        print(f"| {size} | {len(codes)} | {cells} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--sets", type=int, default=60, help="of each size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
