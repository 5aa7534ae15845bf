"""Compare ways to train a trial after its transplant, on the built-in digits, seeded.

Compares, at equal numbers of steps, training the transplanted network (lambda is 0 from the start)
with diluting the unpruned one (lambda falls from 1 to 0), and also gives dilution five times the
steps. The unpruned network is the teacher in all but one column, which uses labels alone. With
``--swin`` the network is a Swin transformer of two stages, trained at the beginning.

    python benchmarks/rungs.py [--swin]
"""

import argparse
from dataclasses import replace

import timm
import torch

from lambda_nas.api.session import RUNG_LOSSES
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.digits import digits_images, digits_model
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.training.config import LambdaSchedule, Losses, TrainConfig
from lambda_nas.training.dilution import dilute, finish
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

SWIN_SETS = ((0,), (4,), (0, 1), (2, 5), (4, 5), (1, 3, 5), (0, 2, 4, 6), (1, 2, 3, 5, 6, 7))
SWIN_STEPS = 1200
SETS = ((0, 1, 2), (2, 3, 9), (1, 3, 5, 7), (4, 7, 8, 9, 10, 11), (0, 2, 4, 6, 8, 10))
STEPS = 40
COLUMNS = (
    "removed",
    "plain removal",
    "transplant",
    "transplant, trained on labels alone",
    "transplant, trained",
    "diluted, paper",
    "diluted, none",
    "diluted, none, 5x the steps",
)


def main() -> None:
    """Print a Markdown table of top-1 on the 540 held-out digits."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--swin", action="store_true", help="a Swin transformer of 4 + 4 blocks")
    swin = parser.parse_args().swin
    # The operations are too small for a second thread to pay.
    torch.set_num_threads(1)
    data = digits_images()
    assert data.training is not None
    model = digits_swin(data.training) if swin else digits_model().model
    cache = ActivationCache(model, data.calibration)
    print(f"unpruned: {_percent(model, data.evaluation)}; {STEPS} steps of 64 images\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for layers in SWIN_SETS if swin else SETS:
        removal = RemovalSet.of(layers)
        row = [str(removal), _percent(remove_attention(model, removal).model, data.evaluation)]
        row.append(_percent(transplant(cache, removal), data.evaluation))
        for losses in (Losses(), RUNG_LOSSES):
            transplanted = transplant(cache, removal)
            config = replace(
                _config(STEPS), losses=losses, lambda_schedule=LambdaSchedule(start=0.0)
            )
            train(transplanted, data.training, config, teacher=model)
            row.append(_percent(transplanted, data.evaluation))
        for compensation, steps in (("paper", STEPS), ("none", STEPS), ("none", 5 * STEPS)):
            diluted = dilute(model, removal, compensation=compensation)
            train(diluted, data.training, _config(steps), teacher=model)
            row.append(_percent(finish(diluted), data.evaluation))
        print("| " + " | ".join(row) + " |", flush=True)


def digits_swin(training: ImageSet) -> torch.nn.Module:
    """Return a Swin transformer with 8x8 and then 4x4 tokens, trained on the digits."""
    torch.manual_seed(0)
    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=8,
        in_chans=1,
        patch_size=1,
        window_size=4,
        embed_dim=32,
        depths=(4, 4),
        num_heads=(2, 4),
        num_classes=10,
    )
    train(model, training, TrainConfig(steps=SWIN_STEPS, batch_size=64, lr=2e-3))
    return model


def _config(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps, batch_size=64, lr=3e-4, losses=RUNG_LOSSES)


def _percent(model: torch.nn.Module, images: ImageSet) -> str:
    return f"{100 * evaluate(model, images).top1:.1f}"


if __name__ == "__main__":
    main()
