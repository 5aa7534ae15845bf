"""Fine-tune an ImageNet model on CIFAR-10 and write it as a timm folder.

The images are enlarged; timm interpolates the position embedding.

    python studies/cifar10_deit_tiny/finetune.py --data cifar10 --out cifar10_model \
        --model local-dir:../shared/data/deit_tiny_patch16_224
"""

import argparse
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf

from lambda_nas.api.progress.shown import stage
from lambda_nas.data.image_folder import ImageLimits, load_images
from lambda_nas.execution.progress import in_percent
from lambda_nas.training.config import Augmentation, TrainConfig
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

BATCH_SIZE = 64


def main() -> None:
    """Print top-1 on the validation images."""
    options = _options()
    torch.manual_seed(options.seed)  # Of the new head's weights.
    model = timm.create_model(
        options.model,
        pretrained=True,
        num_classes=10,
        img_size=options.size,
        pretrained_cfg_overlay={
            "input_size": (3, options.size, options.size),
            # Small images: nothing at the border to cut away.
            "crop_pct": 1.0,
        },
    )
    with stage("Reading images", 100) as advance:
        limits = ImageLimits(training=50_000)
        data = load_images(options.data, model, limits=limits, on_image=in_percent(advance))
    assert data.training is not None
    steps = int(options.epochs * len(data.training)) // BATCH_SIZE
    config = TrainConfig(
        steps=steps,
        batch_size=BATCH_SIZE,
        lr=2e-4,
        seed=options.seed,
        augmentation=Augmentation(crop=0.7, hflip=0.5),
    )
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with stage("Fine-tuning", steps) as advance:
        train(model, data.training, config, on_step=lambda *_: advance())
    print(f"top-1 on {len(data.evaluation)} images: {evaluate(model, data.evaluation).top1:.4f}")
    options.out.mkdir(parents=True)
    save_for_hf(model.cpu(), str(options.out), safe_serialization=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--size", type=int, default=96, help="pixels")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
