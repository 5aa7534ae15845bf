"""What a search will cost in time and memory, from one timed forward pass.

The numbers of forward passes follow the code of the stages and of a trial. The times are rough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lambda_nas.cost.measurement import Price
from lambda_nas.execution.settings import Settings
from lambda_nas.scoring.activation_cache import LIMIT_BYTES
from lambda_nas.training.config import TrainConfig

STARTING_S = 15.0
"""Seconds until Ray and its first worker, which imports PyTorch, are ready."""
TRIAL_OVERHEAD_S = 0.5
LIBRARIES_BYTES = 700_000_000
"""Memory of a process that has imported PyTorch, timm and Ray."""
PRICED = 5 * 25
"""Batches that pricing runs: a few architectures, each many times."""
STEP_FORWARDS = 4
"""Of one training step: forward, backward (twice as much work), and the teacher's forward."""
REPAIR_FORWARDS = 3
"""Of one repair: walking through the pruned model, and fitting its layers."""
TRAINING_COPIES = 5
"""Of the weights: the unpruned model, the trained one, its gradients, Adam's two averages."""


@dataclass(frozen=True)
class ImageCounts:
    """Numbers of images by role, and the bytes of one; calibration is part of training, if any."""

    calibration: int
    evaluation: int
    training: int
    image_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a search will cost, roughly.

    Attributes:
        first_trial_s: Seconds before the first trial.
        trial_s: Seconds of a trial while all workers are busy.
        memory_bytes: Memory of the driver and its workers together.
        disk_bytes: The weights of as many trials as the front may hold, and of those in flight.
    """

    first_trial_s: float
    trial_s: float
    memory_bytes: int
    disk_bytes: int


def estimate(
    unpruned: Price,
    weights_bytes: int,
    removable: int,
    images: ImageCounts,
    rungs: Sequence[TrainConfig],
    settings: Settings,
    *,
    is_priced: bool = False,
    has_prior: bool = False,
) -> Estimate:
    """Estimate what a search will cost.

    Args:
        unpruned: Price of the unpruned model, with all cores or on the GPU.
        weights_bytes: Bytes of its parameters and buffers.
        removable: Number of its layers that could be removed, in this space or another.
        images: That the search uses.
        rungs: The training that a trial gets.
        settings: Of the search.
        is_priced: Whether the study has its prices and the unpruned model's accuracy.
        has_prior: Whether it has its prior.
    """
    workers = settings.workers
    before = 0.0 if is_priced else PRICED * settings.batch_size + images.evaluation
    before += 0.0 if has_prior else forwards_of_prior(removable, images.calibration, settings)
    trial_s = forwards_of_trial(images.calibration, images.evaluation, rungs) / unpruned.throughput
    stored = images.evaluation + max(images.calibration, images.training)
    passing = unpruned.memory_bytes - weights_bytes
    states = images.calibration * passing // settings.batch_size * len(settings.layers)
    process_bytes = (
        LIBRARIES_BYTES
        + stored * images.image_bytes
        + (TRAINING_COPIES if rungs else 2) * weights_bytes
        + min(LIMIT_BYTES, states)
        + passing
    )
    return Estimate(
        first_trial_s=before / unpruned.throughput + STARTING_S,
        # Workers share the cores.
        trial_s=trial_s * workers + TRIAL_OVERHEAD_S,
        memory_bytes=(1 + workers) * process_bytes,
        disk_bytes=weights_bytes * most_files(settings),
    )


def most_files(settings: Settings) -> int:
    """Return how many trials' weights may lie on the disk at once.

    The front of a model of equal blocks has at most one trial of each number of layers and way to
    merge, which may be none; only the unpruned model itself is no trial.
    """
    front = (1 + settings.max_removed) * (1 + len(settings.mergings)) - 1
    return front + settings.workers


def forwards_of_prior(removable: int, calibration: int, settings: Settings) -> float:
    """Count the images that pass the model for the prior."""
    layers = len(settings.layers)
    # Each layer alone; the first greedy step chooses from these scores.
    scored = removable + sum(layers - step for step in range(1, settings.max_removed))
    # On average half of the blocks lie behind the layer that is removed.
    return min(calibration, settings.prior_images) * (1 + scored / 2)


def forwards_of_trial(calibration: int, evaluation: int, rungs: Sequence[TrainConfig]) -> int:
    """Count the images that pass the model in a trial, from those of two roles and the training."""
    trained = sum(rung.steps * rung.batch_size for rung in rungs)
    evaluated = evaluation * (1 + len(rungs))
    return REPAIR_FORWARDS * calibration + evaluated + STEP_FORWARDS * trained
