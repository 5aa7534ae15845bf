"""Exhaustive evaluation of rung 0: measure every removal set of a model.

Walks the binary tree of prefixes once (`benchmarks.exhaustive`): under plain removal over the
calibration images (relative and transfer entropy and two more label-free scores) and over the
evaluation images, and with `--transplant` once more with every removal set repaired. Run the same
command again to resume.

    python benchmarks/oracle.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt \
        --calibration 100 --evaluation 150 --out studies/oracle_deit_tiny_imagenet500/table.npz

    python benchmarks/oracle.py --transplant --out studies/oracle_digits/table.npz
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exhaustive import SetOutput, every_removal, every_transplant
from numpy.typing import NDArray
from oracle_table import OracleTable
from torch import Tensor

from lambda_nas.api.inputs.source import find_source
from lambda_nas.api.progress.shown import stage
from lambda_nas.api.session import device_name
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.blockwise import check_blockwise
from lambda_nas.models.surgery import removable_layers
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.entropy import GaussianEntropy, relative_entropy

SAVE_EVERY_S = 60.0
Walk = Callable[[int], Iterator[None]]


class Walks:
    """The three walks and their sums so far, kept in a file beside the table.

    A walk goes through all removal sets for one batch after the other, and counts the outputs that
    it has added to the sums, so it can resume from this number. The last walk has all images as one
    batch.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        found = find_source(model=options.model, data=options.data, class_map=options.class_map)
        source = found.read(stage)
        self._model = check_blockwise(source.model.model).eval().to(options.device)
        self._layers = removable_layers(self._model)
        self._sets = 1 << len(self._layers)
        self._calibration = _first(source.data.calibration, options.calibration)
        self._evaluation = _first(source.data.evaluation, options.evaluation)
        self._options = options
        self._command = json.dumps(vars(options), default=str)
        self._path: Path = options.out.with_suffix(".partial.npz")
        images, classes = len(self._evaluation), self._model.num_classes
        self._sums = {
            "done": np.zeros(3, np.int64),
            "seconds": np.zeros(3),
            "scores": np.zeros((self._sets, 3)),
            "mean": np.zeros((self._sets, classes)),
            "deviation": np.zeros((self._sets, classes)),
            "removal_hits": np.zeros((self._sets, images), bool),
            "transplant_hits": np.zeros((self._sets * options.transplant, images), bool),
        }
        if self._path.exists():
            self._load()
        self._saved = time.monotonic()

    def run(self) -> None:
        """Do what is left of the walks."""
        size = self._options.batch_size
        self._walk(0, "Scores", self._score, -(-len(self._calibration) // size))
        self._walk(1, "Plain removal", self._judge_removal, -(-len(self._evaluation) // size))
        self._walk(2, "Transplant", self._judge_transplant, int(self._options.transplant))

    def _walk(self, number: int, label: str, walk: Walk, batches: int) -> None:
        done, total = int(self._sums["done"][number]), self._sets * batches
        if done == total:
            return
        with stage(label, total - done) as advance:
            for _ in walk(done):
                self._sums["done"][number] += 1
                if time.monotonic() > self._saved + SAVE_EVERY_S:
                    self._save(number)
                advance()
        self._save(number)

    def _score(self, done: int) -> Iterator[None]:
        batches = self._calibration.batches(self._options.batch_size, device=self._options.device)
        unpruned = [next(every_removal(self._model, batch)) for batch, _ in batches]
        variance = torch.cat([output.features for output in unpruned]).var(0).sum()
        for number, before, batch, first in self._left(self._calibration, done):
            for output in every_removal(self._model, batch, first=first):
                scores = _scores(unpruned[number], output, variance)
                self._sums["scores"][output.code] += len(batch) * scores
                mean, deviation = self._sums["mean"], self._sums["deviation"]
                so_far = (torch.from_numpy(array[output.code]) for array in (mean, deviation))
                entropy = GaussianEntropy(before, *so_far).update(output.logits.cpu())
                mean[output.code], deviation[output.code] = entropy.mean, entropy.deviation
                yield

    def _judge_removal(self, done: int) -> Iterator[None]:
        for _, before, batch, first in self._left(self._evaluation, done):
            seen = slice(before, before + len(batch))
            for output in every_removal(self._model, batch, first=first):
                right = output.logits.argmax(1).cpu() == self._evaluation.labels[seen]
                self._sums["removal_hits"][output.code, seen] = right
                yield

    def _judge_transplant(self, done: int) -> Iterator[None]:
        cache = ActivationCache(self._model, self._calibration)
        for output in every_transplant(cache, self._evaluation, first=done):
            right = output.logits.argmax(1).cpu() == self._evaluation.labels
            self._sums["transplant_hits"][output.code] = right
            yield

    def _left(self, images: ImageSet, done: int) -> Iterator[tuple[int, int, Tensor, int]]:
        """Yield `(batch's number, images before, batch, code to begin with)` of what is left."""
        size = self._options.batch_size
        begun, first = divmod(done, self._sets)
        for number, (batch, _) in enumerate(images.batches(size, device=self._options.device)):
            if number >= begun:
                yield number, number * size, batch, first if number == begun else 0

    def _load(self) -> None:
        with np.load(self._path, allow_pickle=False) as arrays:
            if str(arrays["command"]) != self._command:
                raise SystemExit(
                    f"{self._path} was begun with other options, {arrays['command']}: "
                    "give them again, or remove it"
                )
            self._sums = {name: arrays[name] for name in self._sums}

    def _save(self, walk: int) -> None:
        now = time.monotonic()
        self._sums["seconds"][walk] += now - self._saved
        self._saved = now
        scratch = self._path.with_suffix(".tmp.npz")
        arrays: dict[str, Any] = {"command": self._command, **self._sums}
        np.savez(scratch, **arrays)
        scratch.replace(self._path)

    def finish(self) -> OracleTable:
        """Write the finished table and remove the file beside it."""
        count = len(self._calibration)
        entropies = [
            GaussianEntropy(count, *map(torch.from_numpy, pair)).value
            for pair in zip(self._sums["mean"], self._sums["deviation"], strict=True)
        ]
        scores = (self._sums["scores"] / count).astype(np.float32)
        table = OracleTable(
            about={
                "model": self._options.model or "digits_vit",
                "data": str(self._options.data or "digits"),
                "calibration_images": count,
                "evaluation_images": len(self._evaluation),
                "device": device_name(self._options.device),
                "seconds": [round(seconds) for seconds in self._sums["seconds"]],
            },
            layers=self._layers,
            removal_hits=np.packbits(self._sums["removal_hits"], axis=1),
            transplant_hits=np.packbits(self._sums["transplant_hits"], axis=1),
            relative_entropy=scores[:, 0],
            transfer_entropy=(entropies[0] - np.array(entropies)).astype(np.float32),
            agreement=scores[:, 1],
            feature_error=scores[:, 2],
        )
        table.save(self._options.out)
        self._path.unlink()
        return table


def _scores(unpruned: SetOutput, output: SetOutput, variance: Tensor) -> NDArray[np.float64]:
    """Return relative entropy, agreement and feature error, means over a batch."""
    agreement = unpruned.logits.argmax(1) == output.logits.argmax(1)
    error = (output.features - unpruned.features).square().sum(1) / variance
    return np.array(
        [
            relative_entropy(unpruned.logits.double(), output.logits.double()).item(),
            agreement.double().mean().item(),
            error.mean().item(),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table and print the time and memory it took."""
    options = _options(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    walks = Walks(options)
    walks.run()
    table = walks.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{len(table.sets)} sets, {table.about}; peak memory of the process {peak / 1e9:.2f} GB")


def _first(images: ImageSet, limit: int | None) -> ImageSet:
    return images if limit is None else images.subset(torch.arange(min(limit, len(images))))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="the built-in digits without it")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--calibration", type=int, help="images; all without it")
    parser.add_argument("--evaluation", type=int, help="images; all without it")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--transplant", action="store_true", help="repair every set, too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
