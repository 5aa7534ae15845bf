"""The full training of one architecture that a search has found."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from lambda_nas.api.inputs.source import Source, Stage, available_device
from lambda_nas.api.session import losses_for
from lambda_nas.errors import InputError, StorageError
from lambda_nas.execution.progress import in_percent
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.surgery import ModelT
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.training.checkpoints import Checkpoint
from lambda_nas.training.config import Augmentation, Losses, TrainConfig
from lambda_nas.training.dilution import Compensation, finish
from lambda_nas.training.loop import train

NATURAL = Augmentation(crop=0.7, hflip=0.5)
CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; the rest is as it was measured to be best.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        lr: Peak learning rate.
        seed: Random seed for the order and the augmentation of images.
        compensation: As ``dilute`` takes it.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 3e-4
    seed: int = 0
    compensation: Compensation = "none"

    def config(self, images: int, losses: Losses, *, natural: bool) -> TrainConfig:
        """Return the configuration for so many images; natural ones are cropped and flipped."""
        return TrainConfig(
            steps=max(1, self.epochs * images // self.batch_size),
            batch_size=self.batch_size,
            lr=self.lr,
            seed=self.seed,
            losses=losses,
            augmentation=NATURAL if natural else Augmentation(),
        )


class CheckpointFile:
    """Keeps the last checkpoint of a training in a file, whole or not at all."""

    every = CHECKPOINT_STEPS

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(
        cls, out: Path, source: Source, architecture: Architecture, schedule: Schedule
    ) -> "CheckpointFile":
        """Return the file of this very training, which will write ``out``."""
        about = f"{source.model.fingerprint} {source.data.fingerprint} {architecture} {schedule}"
        digest = hashlib.sha256(about.encode()).hexdigest()[:8]
        return cls(out.parent / f".{out.name}-{digest}.pt")

    def load(self) -> Checkpoint | None:
        """Return the checkpoint, if there is one.

        Raises:
            InputError: If the file can't be read.
        """
        if not self.path.exists():
            return None
        try:
            checkpoint: Checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
        # Unpickling and zip reading each fail in their own ways.
        except Exception as error:
            raise InputError(
                f"the checkpoint {self.path} can't be read", advice="delete it to start over"
            ) from error
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file.

        Raises:
            StorageError: If it can't be written.
        """
        scratch = self.path.with_suffix(".tmp")
        try:
            torch.save(checkpoint, scratch)
            scratch.replace(self.path)
        # A full disk is a RuntimeError of torch's zip writer.
        except (OSError, RuntimeError) as error:
            scratch.unlink(missing_ok=True)
            raise StorageError(f"can't write the checkpoint {self.path} ({error})") from error

    def delete(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


def train_fully(
    source: Source,
    diluted: ModelT,
    schedule: Schedule,
    *,
    checkpoints: CheckpointFile,
    stage: Stage,
) -> ModelT:
    """Train a diluted network while its attention fades out, and return what is left.

    The unpruned model is the teacher. A training that was killed is resumed at its last
    checkpoint.

    Args:
        source: The unpruned model and its images, with some to train on.
        diluted: The diluted model.
        schedule: How long.
        checkpoints: Of this training.
        stage: Shows the progress.

    Raises:
        NonFiniteError: If a loss is NaN or infinite.
    """
    images, teacher = source.data.training, source.model.model
    assert images is not None
    device = available_device()
    natural = source.model.name != DIGITS_ARCHITECTURE
    config = schedule.config(len(images), losses_for(teacher), natural=natural)
    checkpoints.path.parent.mkdir(parents=True, exist_ok=True)
    with stage("Training", 100) as advance:
        show = in_percent(advance)

        def tell(step: int, loss: float) -> None:
            done = step + 1
            show(done, config.steps, f"step {done} of {config.steps}, loss {loss:.3f}")

        train(
            diluted.to(device),
            images,
            config,
            teacher=teacher.to(device),
            on_step=tell,
            checkpoints=checkpoints,
        )
    return finish(diluted)
