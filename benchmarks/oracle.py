"""The whole truth of rung 0: every removal set of a model, measured.

Walks the binary tree of prefixes once (`lambda_nas.core.exhaustive`): under plain removal over the
calibration images (relative and transfer entropy and two more label-free scores) and over the
evaluation images, and with `--transplant` once more with every set repaired. Killed and started
again, it goes on where it was.

    python benchmarks/oracle.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt \
        --calibration 100 --evaluation 150 --out studies/oracle_deit_tiny_imagenet500/table.npz

    python benchmarks/oracle.py --transplant --out studies/oracle_digits/table.npz
"""

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from oracle_table import OracleTable

from lambda_nas.cli.progress import stage
from lambda_nas.core.data import ImageSet
from lambda_nas.core.entropy import GaussianEntropy, relative_entropy
from lambda_nas.core.exhaustive import SetOutput, every_removal, every_transplant
from lambda_nas.core.prefixes import PrefixStates
from lambda_nas.core.surgery import check_supported, removable_layers
from lambda_nas.run import device_name, open_source

SAVE_EVERY_S = 60.0


class Walks:
    """The three walks and what they have summed up, kept in a file beside the table."""

    def __init__(self, options: argparse.Namespace) -> None:
        source = open_source(
            stage, model=options.model, data=options.data, class_map=options.class_map
        )
        self.model = check_supported(source.model.model).eval().to(options.device)
        self.layers = removable_layers(self.model)
        self.sets = 1 << len(self.layers)
        self.calibration = _first(source.data.calibration, options.calibration)
        self.evaluation = _first(source.data.evaluation, options.evaluation)
        self.options = options
        self.path: Path = options.out.with_suffix(".partial.npz")
        classes = self.model.num_classes
        self.sums = {
            # Where to go on: walk, batch, code; and the seconds spent so far.
            "place": np.zeros(3, np.int64),
            "seconds": np.zeros(3),
            "removal_hits": np.zeros((self.sets, len(self.evaluation)), bool),
            "transplant_hits": np.zeros((self.sets, len(self.evaluation)), bool),
            "scores": np.zeros((self.sets, 3)),
            "mean": np.zeros((self.sets, classes)),
            "deviation": np.zeros((self.sets, classes)),
        }
        if self.path.exists():
            with np.load(self.path, allow_pickle=False) as arrays:
                self.sums = {name: arrays[name] for name in self.sums}
        self.saved = time.monotonic()

    def run(self) -> None:
        """Do what is left of the walks."""
        walks = [self._score, self._judge_removal, self._judge_transplant]
        for number, walk in enumerate(walks[: 3 if self.options.transplant else 2]):
            if self.sums["place"][0] <= number:
                walk(number)
                self._keep(number + 1, 0, 0)

    def _score(self, walk: int) -> None:
        for done, batch, output in self._batches(walk, self.calibration):
            if output is None:
                with torch.inference_mode():
                    tokens = self.model.forward_features(batch)
                    features = self.model.forward_head(tokens, pre_logits=True)
                    reference = self.model(batch)
                variance = features.var(0).sum()
                continue
            count = len(batch)
            self.sums["scores"][output.code] += count * np.array(
                [
                    relative_entropy(reference.double(), output.logits.double()).item(),
                    (reference.argmax(1) == output.logits.argmax(1)).double().mean().item(),
                    ((output.features - features).square().sum(1).mean() / variance).item(),
                ]
            )
            mean, deviation = self.sums["mean"], self.sums["deviation"]
            before = GaussianEntropy.empty()
            if done:
                sums = (torch.from_numpy(array[output.code]) for array in (mean, deviation))
                before = GaussianEntropy(done, *sums)
            after = before.update(output.logits.cpu())
            mean[output.code], deviation[output.code] = after.mean, after.deviation

    def _judge_removal(self, walk: int) -> None:
        labels = self.evaluation.labels
        for done, batch, output in self._batches(walk, self.evaluation):
            if output is not None:
                seen = slice(done, done + len(batch))
                right = output.logits.argmax(1).cpu() == labels[seen]
                self.sums["removal_hits"][output.code, seen] = right

    def _judge_transplant(self, walk: int) -> None:
        prefixes = PrefixStates(self.model, self.calibration)
        first = int(self.sums["place"][2])
        with stage("Transplanting", self.sets - first) as advance:
            for output in every_transplant(prefixes, self.evaluation, first=first):
                right = output.logits.argmax(1).cpu() == self.evaluation.labels
                self.sums["transplant_hits"][output.code] = right
                self._keep(walk, 0, output.code + 1, now=False)
                advance()

    def _batches(
        self, walk: int, images: ImageSet
    ) -> Iterator[tuple[int, torch.Tensor, SetOutput | None]]:
        """Yield `(images before, batch, output)`; a batch begins with the output `None`."""
        size = self.options.batch_size
        _, begin, first = map(int, self.sums["place"])
        total = self.sets * -(-len(images) // size)
        with stage(f"Walk {walk + 1}", total - begin * self.sets - first) as advance:
            for number, (batch, _) in enumerate(images.batches(size, device=self.options.device)):
                if number < begin:
                    continue
                yield number * size, batch, None
                for output in every_removal(self.model, batch, first=first):
                    yield number * size, batch, output
                    self._keep(walk, number, output.code + 1, now=False)
                    advance()
                first = 0

    def _keep(self, walk: int, batch: int, code: int, *, now: bool = True) -> None:
        spent = time.monotonic() - self.saved
        if now or spent > SAVE_EVERY_S:
            self.sums["seconds"][min(walk if code or batch else walk - 1, 2)] += spent
            self.sums["place"][:] = walk, batch, code
            scratch = self.path.with_suffix(".tmp.npz")
            np.savez(scratch, **self.sums)
            scratch.replace(self.path)
            self.saved = time.monotonic()

    def table(self) -> OracleTable:
        """Return the table, once all is done."""
        count = len(self.calibration)
        entropies = [
            GaussianEntropy(count, *map(torch.from_numpy, pair)).value
            for pair in zip(self.sums["mean"], self.sums["deviation"], strict=True)
        ]
        scores = (self.sums["scores"] / count).astype(np.float32)
        transplanted = self.sums["transplant_hits"][:: 1 if self.options.transplant else self.sets]
        return OracleTable(
            about={
                "model": self.options.model or "digits_vit",
                "data": str(self.options.data or "digits"),
                "calibration_images": count,
                "evaluation_images": len(self.evaluation),
                "device": device_name(self.options.device),
                "seconds": [round(seconds) for seconds in self.sums["seconds"]],
            },
            layers=self.layers,
            removal_hits=np.packbits(self.sums["removal_hits"], axis=1),
            transplant_hits=np.packbits(transplanted, axis=1)[: len(transplanted) // 2 * 2],
            relative_entropy=scores[:, 0],
            transfer_entropy=(entropies[0] - np.array(entropies)).astype(np.float32),
            agreement=scores[:, 1],
            feature_error=scores[:, 2],
        )


def main() -> None:
    """Write the table and print what it cost."""
    options = _options()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    walks = Walks(options)
    walks.run()
    table = walks.table()
    table.save(options.out)
    walks.path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{len(table.sets)} sets, {table.about}; peak memory of the process {peak / 1e9:.2f} GB")


def _first(images: ImageSet, limit: int | None) -> ImageSet:
    return images if limit is None else images.subset(torch.arange(min(limit, len(images))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="the embedded digits without it")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--calibration", type=int, help="images; all without it")
    parser.add_argument("--evaluation", type=int, help="images; all without it")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--transplant", action="store_true", help="repair every set, too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
