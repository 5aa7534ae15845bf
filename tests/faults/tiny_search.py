"""A search as a process of its own, over a ViT with random weights: trials cost next to nothing.

    python tests/faults/tiny_search.py STORAGE_URL BUDGET [--depth 6] [--images 60] [--workers 1]
        [--ray-address HOST:PORT] [--weights DIR] [--seconds S] [--trial-timeout S]

Prints one line a finished trial, `trials RSS`, both numbers; exits as `lambda-nas search` does.
"""

import argparse
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import timm
import torch

from lambda_nas.api.inputs.source import Source
from lambda_nas.api.session import Session, search
from lambda_nas.cli.app import quiet_dependencies
from lambda_nas.cli.interrupts import second_signal_exits
from lambda_nas.cost import measurement as cost
from lambda_nas.data.image_folder import ImageData
from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import LambdaNasError
from lambda_nas.execution.progress import TrialEnded
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.pretrained.loading import LoadedModel, ModelConfig, fingerprint
from lambda_nas.store.study_store import SqlStudyStore

STUDY = "tiny"


class Lines:
    """Progress as lines on stdout."""

    @contextmanager
    def stage(self, label, total):
        print("stage", label, flush=True)
        yield lambda detail="": None

    def trials(self, counts, front):
        print(counts.evaluated, psutil.Process().memory_info().rss, flush=True)

    def tell(self, event):
        if isinstance(event, TrialEnded) and event.outcome == "failed":
            print("failed", event.architecture, event.reason, flush=True)
            hold("HOLD_FAILURES")


def hold(variable):
    """Wait for as long as there is a file, if the environment names one, and show that we do."""
    file = os.environ.get(variable)
    while file and Path(file).exists():
        Path(f"{file}.reached").touch()
        time.sleep(0.05)


def hold_trial(model, inputs):
    # The driver runs the model, too.
    if Path(sys.argv[0]).name != Path(__file__).name:
        hold("HOLD_TRIALS")


def source(depth, images):
    torch.manual_seed(0)
    model = timm.create_model("digits_vit", depth=depth).eval()
    model.register_forward_pre_hook(hold_trial)
    pixels = torch.randint(0, 256, (images, 1, 8, 8), dtype=torch.uint8)
    whole = ImageSet(pixels, torch.arange(images) % 10, (0.5,), (0.5,))
    first, second = whole.subset(torch.arange(20)), whole.subset(torch.arange(20, images))
    config = ModelConfig("digits_vit", {"depth": depth}, {})
    loaded = LoadedModel(model, "tiny", config, fingerprint(model, config))
    return Source(loaded, ImageData(first, second, None, "tiny-data", "tiny"), "noise")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("budget", type=int)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ray-address")
    parser.add_argument("--seconds", type=float, help="a budget of time in place of trials")
    parser.add_argument("--trial-timeout", type=float)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    # A library that was preloaded into this process is not for the workers.
    os.environ.pop("LD_PRELOAD", None)
    quiet_dependencies()
    torch.set_num_threads(1)
    # Nobody looks at these prices.
    cost.MAX_ROUNDS = cost.MIN_ROUNDS
    settings = Settings(
        Budget(seconds=options.seconds) if options.seconds else Budget(trials=options.budget),
        max_removed=options.depth - 1,
        layers=tuple(range(options.depth)),
        workers=options.workers,
        ray_address=options.ray_address,
        trial_timeout=options.trial_timeout,
        batch_size=8,
    )
    try:
        with second_signal_exits():
            store = SqlStudyStore.open(options.storage)
            found = search(
                Session(
                    source(options.depth, options.images),
                    settings,
                    store,
                    STUDY,
                    options.weights or store.weights_root,
                ),
                progress=Lines(),
                command="tiny_search",
            )
            print("ended", found.ended, flush=True)
    except LambdaNasError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
