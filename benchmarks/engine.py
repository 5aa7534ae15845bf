"""Measure what the search engine saves and costs, each against its baseline in the same run.

- The NOSE path to 6 layers with cached states, against every candidate on its own.
- The walk over all removal sets, against a sample of them on their own, scaled up; both in turns.
- What Ray, sampler and store add to a trial with 2 workers: to trials of a given length, and to
  trials that take no time.

    python benchmarks/engine.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --data ../shared/data/imagenet500 --class-map ../shared/data/imagenet_synsets.txt
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import timm
import torch
from exhaustive import every_removal, set_of
from ray.tune import Trainable
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.api import session
from lambda_nas.api.inputs.source import Source, find_source
from lambda_nas.api.progress.shown import stage
from lambda_nas.data.image_folder import ImageData
from lambda_nas.data.image_set import ImageSet
from lambda_nas.execution import tuning
from lambda_nas.execution.progress import Event, TrialEnded
from lambda_nas.execution.searcher import RemovalSearcher
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.models.blockwise import check_blockwise
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import LoadedModel, ModelConfig
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.entropy import relative_entropy
from lambda_nas.scoring.prior import Scorer, nose_path
from lambda_nas.store.study_store import SqlStudyStore

PATH_LENGTH = 6
SAMPLE = 48
WORKERS = 2


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    found = find_source(model=options.model, data=options.data, class_map=options.class_map)
    source = found.read(stage)
    model = check_blockwise(source.model.model).eval()
    images = source.data.calibration.subset(torch.arange(options.images))
    batch, _ = next(images.batches(options.walk_images))
    print("| what | each set on its own | ours | |\n|---|---|---|---|")
    for what, (alone, ours) in {
        f"NOSE path to {PATH_LENGTH} layers": time_nose(model, images),
        "all sets": time_walk(model, batch),
    }.items():
        print(f"| {what} | {alone:.1f} s | {ours:.1f} s | {alone / ours:.1f}x |")
    print("\n| trials, 2 workers | between two trials of a worker | sampler | store | start |")
    print("|---|---|---|---|---|")
    for seconds, trials in ((options.seconds, options.trials), (0.0, options.free_trials)):
        cost = overhead(seconds, trials)
        share = f" ({100 * cost.gap / seconds:.1f}%)" if seconds else ""
        print(
            f"| {trials} of {seconds:g} s | {1000 * cost.gap:.0f} ms{share} | "
            f"{1000 * cost.asking / trials:.0f} ms | {1000 * cost.keeping / trials:.0f} ms | "
            f"{cost.starting:.1f} s |"
        )


@torch.inference_mode()
def time_nose(model: VisionTransformer, images: ImageSet) -> tuple[float, float]:
    """Time the path with a forward of a pruned model for each candidate, and as we walk it.

    In turns, a step each, so that a busy machine slows both.
    """

    def outputs(removal: RemovalSet) -> torch.Tensor:
        pruned = remove_attention(model, removal).model
        return torch.cat([pruned(batch) for batch, _ in images.batches(64)]).double()

    reference, path, alone = outputs(RemovalSet()), [RemovalSet()], 0.0

    def step() -> None:
        nonlocal alone
        start = time.perf_counter()
        candidates = [path[-1].add(i) for i in range(len(model.blocks)) if i not in path[-1]]
        scores = {each: relative_entropy(reference, outputs(each)).item() for each in candidates}
        path.append(min(candidates, key=scores.__getitem__))
        alone += time.perf_counter() - start

    start = time.perf_counter()
    ours = nose_path(Scorer(ActivationCache(model, images)), length=PATH_LENGTH, on_step=step)
    assert [step.removal for step in ours] == path[1:]
    return alone, time.perf_counter() - start - alone


@torch.inference_mode()
def time_walk(model: VisionTransformer, batch: torch.Tensor) -> tuple[float, float]:
    """Time each removal set on its own (a sample, scaled up) and the walk over all, in turns."""
    layers = tuple(range(len(model.blocks)))
    sets = 1 << len(layers)
    sample = iter(random.Random(0).sample(range(sets), SAMPLE))
    alone, start = 0.0, time.perf_counter()
    for output in every_removal(model, batch):
        if output.code % (sets // SAMPLE) == 0 and (code := next(sample, None)) is not None:
            begun = time.perf_counter()
            remove_attention(model, set_of(code, layers)).model(batch)
            alone += time.perf_counter() - begun
    return alone / SAMPLE * sets, time.perf_counter() - start - alone


class IdleTrial(Trainable):
    """A trial that takes a given time and reports to Ray as real trials do."""

    seconds = 0.0

    def setup(self, config: dict[str, object], **_: object) -> None:
        """Take the configuration."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Take the next configuration."""
        self._removed = new_config["removed"]
        return True

    def step(self) -> dict[str, object]:
        """Sleep, and report an accuracy that falls with each layer."""
        begun = time.time()
        time.sleep(self.seconds)
        noise = random.Random(str(self._removed)).random()
        accuracy = 0.9 - 0.03 * len(self._removed) - 0.1 * noise
        done: dict[str, object] = {"rung": 0, "done": True, "seconds": self.seconds}
        return done | {"accuracy": accuracy, "begun": begun, "ended": time.time()}


class TimedSearcher(RemovalSearcher):
    """Records its own time, and when each worker ran its trials."""

    asked = asking = keeping = 0.0
    ran: ClassVar[dict[int, list[tuple[float, float]]]] = {}

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:  # type: ignore[override]
        """Suggest, timed."""
        start = time.perf_counter()
        TimedSearcher.asked = TimedSearcher.asked or time.time()
        suggestion = super().suggest(trial_id)
        TimedSearcher.asking += time.perf_counter() - start
        return suggestion

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record, timed."""
        start = time.perf_counter()
        super().on_trial_complete(trial_id, result, error)
        TimedSearcher.keeping += time.perf_counter() - start
        if result:
            TimedSearcher.ran.setdefault(result["pid"], []).append(
                (result["begun"], result["ended"])
            )


class Overhead(NamedTuple):
    """Seconds: the mean between two trials of a worker, and the total."""

    gap: float
    asking: float
    keeping: float
    starting: float


def overhead(seconds: float, trials: int) -> Overhead:
    """Run a search of idle trials."""
    IdleTrial.seconds = seconds
    TimedSearcher.asked = TimedSearcher.asking = TimedSearcher.keeping = 0.0
    TimedSearcher.ran = {}
    with tempfile.TemporaryDirectory() as folder, _patched():
        model = timm.create_model("digits_vit").eval()
        pixels = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
        images = ImageSet(pixels, torch.arange(16) % 10, (0.5,), (0.5,))
        source = Source(
            LoadedModel(model, "idle", ModelConfig("digits_vit", {}, {}), "idle"),
            ImageData(images, images, None, "idle", "idle"),
            "idle",
        )
        settings = Settings(
            Budget(trials=trials), max_removed=11, layers=tuple(range(12)), workers=WORKERS
        )
        store = SqlStudyStore.open(f"sqlite:///{folder}/study.db")
        session.search(
            session.Session(source, settings, store, "idle", Path(folder)),
            progress=Quiet(),
            command="benchmark",
        )
    gaps = [
        following - ended
        for times in TimedSearcher.ran.values()
        for (_, ended), (following, _) in pairwise(times)
    ]
    first = min(times[0][0] for times in TimedSearcher.ran.values())
    return Overhead(
        statistics.mean(gaps),
        TimedSearcher.asking,
        TimedSearcher.keeping,
        first - TimedSearcher.asked,
    )


class Quiet:
    """Shows no progress, which is not part of the measurement."""

    stage = staticmethod(stage)

    def trials(self, *_: object) -> None:
        """Show nothing."""

    def tell(self, event: Event) -> None:
        """Stop at a failed trial: an idle one does not fail."""
        if isinstance(event, TrialEnded) and event.outcome == "failed":
            raise RuntimeError(f"{event.architecture}: {event.reason}")


@contextmanager
def _patched() -> Iterator[None]:
    ours = tuning.RemovalTrial, tuning.RemovalSearcher
    tuning.RemovalTrial, tuning.RemovalSearcher = IdleTrial, TimedSearcher  # type: ignore[misc]
    try:
        yield
    finally:
        tuning.RemovalTrial, tuning.RemovalSearcher = ours  # type: ignore[misc]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="the built-in digits without it")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--class-map", type=Path)
    parser.add_argument("--images", type=int, default=64, help="of the NOSE path")
    parser.add_argument("--walk-images", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a trial")
    parser.add_argument("--trials", type=int, default=16, help="of so many seconds")
    parser.add_argument("--free-trials", type=int, default=100, help="that cost nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
