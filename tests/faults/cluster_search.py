"""A search in a Ray cluster as a process of its own, over a ViT of 4 blocks with random weights.

python tests/faults/cluster_search.py RAY_ADDRESS STORAGE_URL WEIGHTS_DIR BUDGET
"""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import timm
import torch

from lambda_nas.cli.app import quiet_dependencies
from lambda_nas.core.data import ImageSet
from lambda_nas.inputs.images import ImageData
from lambda_nas.inputs.models import LoadedModel, ModelConfig, fingerprint
from lambda_nas.run import Source, search
from lambda_nas.search.job import Budget, Settings
from lambda_nas.store.store import Store

STUDY = "tiny"


class Lines:
    """Progress as lines on stdout."""

    @contextmanager
    def stage(self, label, total):
        print("stage", label, flush=True)
        yield lambda: None

    def trials(self, counts, front):
        print(counts.evaluated, flush=True)

    def failed(self, removal, reason):
        print("failed", removal, reason, flush=True)


def hold(model, inputs):
    """Stay in the middle of a trial for as long as there is a file that the node was started with."""
    file = os.environ.get("HOLD_TRIALS")
    while file and Path(file).exists():
        time.sleep(0.05)


def source():
    torch.manual_seed(0)
    model = timm.create_model("digits_vit", depth=4).eval()
    model.register_forward_pre_hook(hold)
    pixels = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(60) % 10, (0.5,), (0.5,))
    first, second, _ = (images.subset(part) for part in torch.arange(60).split(20))
    config = ModelConfig("digits_vit", {"depth": 4}, {})
    loaded = LoadedModel(model, "tiny", config, fingerprint(model, config))
    return Source(loaded, ImageData(first, second, None, "tiny-data", "tiny"), "noise")


if __name__ == "__main__":
    address, storage, weights, budget = sys.argv[1:]
    quiet_dependencies()
    torch.set_num_threads(1)
    search(
        source(),
        Settings(
            Budget(trials=int(budget)),
            max_removed=3,
            layers=(0, 1, 2, 3),
            workers=2,
            ray_address=address,
            batch_size=8,
        ),
        store=Store.open(storage),
        name=STUDY,
        progress=Lines(),
        weights_root=Path(weights),
    )
