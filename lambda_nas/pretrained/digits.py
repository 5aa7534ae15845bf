"""The embedded default: scikit-learn's handwritten digits and a small ViT trained on first use."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import timm
import torch
from platformdirs import user_cache_path
from timm.models import save_for_hf
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from lambda_nas.data.image_folder import ImageData
from lambda_nas.data.image_set import ImageSet, stratified_order
from lambda_nas.errors import InputError
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE, default_cfgs
from lambda_nas.pretrained.folders import new_folder
from lambda_nas.pretrained.loading import LoadedModel, load_model

# Part of the cache's name: raise it when anything below changes the weights.
RECIPE = 2
SEED = 0
TRAINING_IMAGES = 1257
CALIBRATION_IMAGES = 256
BATCH_SIZE = 64
EPOCHS = 60
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
SHIFT_PROBABILITY = 0.5
# Blocks that were skipped in training can be missed afterwards.
DROP_PATH_RATE = 0.1

OnStep = Callable[[int, int], None]


def digits_images() -> ImageData:
    """Return the 1797 digits, 8x8 and grey: 1257 to train on, 540 held out, by class alike."""
    # Seconds of import that only the digits need.
    from sklearn.datasets import load_digits

    digits = load_digits()
    cfg = default_cfgs[DIGITS_ARCHITECTURE].default
    # Their 17 levels, 0..16, become 0..240.
    pixels = torch.from_numpy(digits.images * 15).to(torch.uint8)[:, None]
    labels = torch.from_numpy(digits.target).to(torch.int64)
    everything = ImageSet(pixels, labels, tuple(cfg.mean), tuple(cfg.std))
    order = stratified_order(labels, generator=torch.Generator().manual_seed(SEED))
    training = everything.subset(order[:TRAINING_IMAGES])
    evaluation = everything.subset(order[TRAINING_IMAGES:])
    return ImageData(
        calibration=training.subset(torch.arange(CALIBRATION_IMAGES)),
        evaluation=evaluation,
        training=training,
        fingerprint=f"digits-{SEED}-{TRAINING_IMAGES}-{CALIBRATION_IMAGES}",
        description=(
            f"scikit-learn digits: {CALIBRATION_IMAGES} calibration and {TRAINING_IMAGES} "
            f"training images, {len(evaluation)} evaluation images"
        ),
    )


def digits_model(
    images: ImageData, *, cache: Path | None = None, on_step: OnStep | None = None
) -> LoadedModel:
    """Return the digits network, trained on first use and cached as a timm folder.

    Args:
        images: From ``digits_images``.
        cache: Folder of the cache, by default the user's.
        on_step: Called with training steps done and in all; not at all if cached.

    Raises:
        InputError: If the cache can't be written.
    """
    cache = cache or user_cache_path("lambda-nas")
    folder = cache / f"{DIGITS_ARCHITECTURE}-{RECIPE}"
    # A cache that doesn't load is as good as none.
    with suppress(InputError):
        return _load(folder)
    try:
        # Known before the training, not after it.
        cache.mkdir(parents=True, exist_ok=True)
        model = _train(images.training or images.calibration, on_step)
        if folder.is_dir():
            shutil.rmtree(folder)
        with new_folder(folder) as temporary:
            save_for_hf(model, str(temporary), safe_serialization=True)
    except OSError as error:
        # Another process may have finished first: its network is the same.
        with suppress(InputError):
            return _load(folder)
        raise InputError(f"can't write the model cache {folder} ({error})") from error
    return _load(folder)


def _load(folder: Path) -> LoadedModel:
    return replace(load_model(f"local-dir:{folder}"), name=DIGITS_ARCHITECTURE)


def _train(training: ImageSet, on_step: OnStep | None) -> nn.Module:
    # Initial weights and drop path draw from the global generator; it is put back afterwards.
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(SEED)
        model = timm.create_model(DIGITS_ARCHITECTURE, drop_path_rate=DROP_PATH_RATE)
        _fit(model, training, on_step)
    return model.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    # Operations this small gain nothing from a second thread (66 against 68 ms a step), and on a
    # busy machine threads that wait for each other made a step many times slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit(model: nn.Module, training: ImageSet, on_step: OnStep | None) -> None:
    steps = EPOCHS * -(-len(training) // BATCH_SIZE)
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
    for step, (images, labels) in enumerate(_augmented(training), 1):
        logits = model(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step_update(step)
        if on_step:
            on_step(step, steps)


def _augmented(training: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(SEED)
    background = -training.mean[0] / training.std[0]
    for _ in range(EPOCHS):
        for images, labels in training.batches(BATCH_SIZE, generator=generator):
            yield _shifted(images, background, generator), labels


def _shifted(images: Tensor, background: float, generator: torch.Generator) -> Tensor:
    """Shift some of the ``[batch, 1, height, width]`` images by a pixel in any direction."""
    count, _, height, width = images.shape
    moved = torch.rand(count, 1, generator=generator) < SHIFT_PROBABILITY
    offsets = 1 + moved * torch.randint(-1, 2, (count, 2), generator=generator)
    rows = offsets[:, :1] + torch.arange(height)
    columns = offsets[:, 1:] + torch.arange(width)
    padded = functional.pad(images[:, 0], (1, 1, 1, 1), value=background)
    which = torch.arange(count)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]][:, None]
