"""Train the digits ViT whose weights come with the package, and write them as a timm folder.

A minute on one thread. The same seed on another processor gives slightly other weights, and so
slightly other studies: that is why the package brings them.

    python studies/digits/train_vit.py --out lambda_nas/pretrained/digits_vit
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from lambda_nas.data.image_set import ImageSet
from lambda_nas.pretrained.digits import digits_images
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.training.evaluation import evaluate

SEED = 0
BATCH_SIZE = 64
EPOCHS = 60
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
SHIFT_PROBABILITY = 0.5
# Blocks that were skipped in training can be missed afterwards.
DROP_PATH_RATE = 0.1


def main() -> None:
    """Train, write the folder, print the accuracy on the held-out digits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    out = parser.parse_args().out
    # Operations this small gain nothing from a second thread (66 against 68 ms a step), and on a
    # busy machine threads that wait for each other made a step many times slower.
    torch.set_num_threads(1)
    images = digits_images()
    assert images.training is not None
    # Half precision halves the file; timm reads it into a network of single precision.
    model = train_digits_vit(images.training, epochs=EPOCHS).half()
    save_for_hf(model, str(out), safe_serialization=True)
    top1 = evaluate(model.float(), images.evaluation).top1
    print(f"top-1 on the held-out digits: {top1:.2%}")


def train_digits_vit(training: ImageSet, *, epochs: int) -> nn.Module:
    """Return the trained network in eval mode."""
    # Initial weights and drop path draw from the global generator.
    torch.manual_seed(SEED)
    model = timm.create_model(DIGITS_ARCHITECTURE, drop_path_rate=DROP_PATH_RATE)
    steps = epochs * -(-len(training) // BATCH_SIZE)
    optimizer = AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=steps,
        warmup_t=steps // 10,
        warmup_lr_init=1e-5,
        lr_min=1e-5,
        t_in_epochs=False,
    )
    schedule.step_update(0)
    model.train()
    for step, (images, labels) in enumerate(_augmented(training, epochs), 1):
        logits = model(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step_update(step)
    return model.eval()


def _augmented(training: ImageSet, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(SEED)
    background = -training.mean[0] / training.std[0]
    for _ in range(epochs):
        for images, labels in training.batches(BATCH_SIZE, generator=generator):
            yield shifted(images, background, generator), labels


def shifted(images: Tensor, background: float, generator: torch.Generator) -> Tensor:
    """Shift some of the ``[batch, 1, height, width]`` images by a pixel in any direction."""
    count, _, height, width = images.shape
    moved = torch.rand(count, 1, generator=generator) < SHIFT_PROBABILITY
    offsets = 1 + moved * torch.randint(-1, 2, (count, 2), generator=generator)
    rows = offsets[:, :1] + torch.arange(height)
    columns = offsets[:, 1:] + torch.arange(width)
    padded = functional.pad(images[:, 0], (1, 1, 1, 1), value=background)
    which = torch.arange(count)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]][:, None]


if __name__ == "__main__":
    main()
