"""Measure the peak memory of the process and the seconds that a large model's transplant needs.

Weights and images are random: neither memory nor time depends on their values.

    python benchmarks/repair_memory.py --model deit_base_patch16_224 --images 512 --removed 8
"""

import argparse
import resource
import sys
import time

import timm
import torch

from lambda_nas.api.progress.shown import stage
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.removal import RemovalSet
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache


def main() -> None:
    """Repair one removal set and print the peak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deit_base_patch16_224")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--removed", type=RemovalSet.parse, default="8")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model(options.model)
    shape = model.pretrained_cfg["input_size"]
    pixels = torch.randint(0, 256, (options.images, *shape), dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(options.images), (0.5,) * 3, (0.5,) * 3)
    start = time.perf_counter()
    with stage("Repairing", 1) as advance:
        transplant(ActivationCache(model, images), options.removed)
        advance()
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # Bytes on macOS, kibibytes elsewhere.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(f"{options.model}, {options.images} images: {peak / 1e9:.2f} GB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
