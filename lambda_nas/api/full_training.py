"""The full training of one architecture that a search has found."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lambda_nas.api.inputs.source import Source, Stage
from lambda_nas.api.session import losses_for
from lambda_nas.errors import InputError, StorageError
from lambda_nas.execution.progress import in_percent
from lambda_nas.exports.card import Results
from lambda_nas.exports.network import export_network
from lambda_nas.models.architecture import Architecture
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.pretrained.loading import NOTHING
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.checkpoints import Checkpoint
from lambda_nas.training.config import Augmentation, Losses, TrainConfig
from lambda_nas.training.dilution import Compensation, dilute, finish
from lambda_nas.training.evaluation import Accuracy, evaluate
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


def train_fully(
    source: Source,
    architecture: Architecture,
    schedule: Schedule,
    *,
    checkpoints: CheckpointFile,
    out: Path,
    results: Results,
    stage: Stage,
) -> Accuracy:
    """Dilute an architecture's attention over the training images and export what is left.

    The unpruned model is the teacher. A training that was killed is resumed at its last
    checkpoint.

    Args:
        source: The unpruned model and its images.
        architecture: The layers to remove, and how tokens are merged afterwards.
        schedule: How long.
        checkpoints: Of this training; the file is deleted when the training is over.
        out: Folder to write, in timm's form; must not hold anything (``check_free`` knows early).
        results: What is known for the model card, all but the accuracy.
        stage: Shows the progress.

    Returns:
        The accuracy on the evaluation images.

    Raises:
        InputError: If there are no training images or ``out`` can't be written.
        UnsupportedModelError: If the paper's compensation can't be folded into this model.
        NonFiniteError: If a loss is NaN or infinite.
    """
    images = source.data.training
    if images is None:
        raise InputError(
            "has no train/ and val/ below it, so there is nothing to train on",
            parameter="data",
            value=source.data_name,
        )
    teacher = source.model.model
    teacher.to("cuda" if torch.cuda.is_available() else "cpu")
    diluted = dilute(teacher, architecture.removal, compensation=schedule.compensation)
    natural = source.model.name != DIGITS_ARCHITECTURE
    config = schedule.config(len(images), losses_for(teacher), natural=natural)
    checkpoints.path.parent.mkdir(parents=True, exist_ok=True)
    with stage("Training", 100) as advance:
        show = in_percent(advance)

        def tell(step: int, loss: float) -> None:
            done = step + 1
            show(done, config.steps, f"step {done} of {config.steps}, loss {loss:.3f}")

        train(
            diluted,
            images,
            config,
            teacher=teacher,
            on_step=tell,
            checkpoints=checkpoints,
        )
    pruned, merging = finish(diluted), architecture.merging
    judged = merge_tokens(pruned, merging) if merging else pruned
    evaluation, size = source.data.evaluation, schedule.batch_size
    with stage("Evaluating", -(-len(evaluation) // size)) as advance:
        found = evaluate(judged, evaluation, batch_size=size, on_batch=lambda _: advance())
    export_network(
        pruned.cpu(),
        source.model.config,
        removal=architecture.removal,
        doubled=architecture.removal if schedule.compensation == "paper" else NOTHING,
        merging=merging,
        out=out,
        results=replace(results, accuracy=found.top1),
    )
    checkpoints.path.unlink(missing_ok=True)
    return found
