"""What a slice of training does, as plain values."""

import math
from dataclasses import dataclass, field
from typing import Literal

from lambda_nas.errors import InputError


@dataclass(frozen=True)
class LambdaSchedule:
    """How lambda falls to zero in the diluted blocks, a value a step.

    Attributes:
        start: Lambda at the first step.
        share: Of the steps, over which lambda falls; at the rest, and at the last one, it is zero.
        shape: Of the fall: a straight line, or half a cosine wave.
    """

    start: float = 1.0
    share: float = 0.5
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        _check_shares(self, "start", "share")

    def at(self, step: int, steps: int) -> float:
        """Return lambda at a step (from 0) of so many."""
        falling = self.falling(steps)
        if step >= falling:
            return 0.0
        left = 1 - step / falling
        return self.start * (left if self.shape == "linear" else (1 - math.cos(math.pi * left)) / 2)

    def falling(self, steps: int) -> float:
        """Return the number of steps before lambda is zero."""
        return min(self.share * steps, steps - 1) if self.start else 0.0


@dataclass(frozen=True)
class Losses:
    """What is minimised: a weighted sum. The last two need a teacher, the first one labels.

    Attributes:
        labels: Weight of the cross-entropy with the labels.
        logits: Weight of the relative entropy of the teacher's predictions, in nats.
        hidden: Weight of the squared distance between the block outputs of teacher and student,
            each token normalised; prefix tokens and patch tokens count half each.
        smoothing: Of the labels.
    """

    labels: float = 1.0
    logits: float = 0.0
    hidden: float = 0.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(self, "smoothing")
        weights = (self.labels, self.logits, self.hidden)
        if not all(weight >= 0 for weight in weights) or not any(weights):
            raise InputError("loss weights must not be negative, and one must be positive")

    @property
    def taught(self) -> bool:
        """Whether a teacher is needed."""
        return self.logits > 0 or self.hidden > 0


@dataclass(frozen=True)
class Augmentation:
    """How timm's transforms and mixup vary the images; by default, not at all.

    Attributes:
        crop: Smallest share of the area that a random crop keeps; 1 is no crop.
        hflip: Probability of a horizontal flip.
        policy: timm's ``auto_augment`` string, such as ``rand-m9-mstd0.5-inc1``.
        mixup: Alpha of mixup; 0 is none.
        cutmix: Alpha of CutMix; 0 is none.
    """

    crop: float = 1.0
    hflip: float = 0.0
    policy: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self, "crop", "hflip")

    @property
    def transforms(self) -> bool:
        """Whether single images are varied."""
        return self.crop < 1 or self.hflip > 0 or self.policy is not None

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with one another."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class TrainConfig:
    """One slice of training.

    Attributes:
        steps: Optimizer steps.
        batch_size: Images a step.
        lr: Peak learning rate.
        seed: Of the order and augmentation of images and of dropout.
        fade: How lambda falls, if the model is diluted.
        losses: What is minimised.
        augmentation: How images are varied.
        trainable: All parameters, or those of the blocks without (or losing) attention.
        ema_decay: Of the moving average of the weights that the model is left with; 0 is off.
        checks: How often the model is rated, evenly over the steps at lambda zero.
        opt: A name that timm's optimizer factory knows.
        sched: A name that timm's scheduler factory knows.
        weight_decay: Of the optimizer.
    """

    steps: int
    batch_size: int
    lr: float
    seed: int = 0
    fade: LambdaSchedule = field(default_factory=LambdaSchedule)
    losses: Losses = field(default_factory=Losses)
    augmentation: Augmentation = field(default_factory=Augmentation)
    trainable: Literal["all", "removed"] = "all"
    ema_decay: float = 0.0
    checks: int = 1
    opt: str = "adamw"
    sched: str = "cosine"
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checks"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        _check_shares(self, "ema_decay")
        if self.augmentation.mixes and self.batch_size % 2:
            raise InputError(f"batch_size must be even for mixup, not {self.batch_size}")

    def checked_steps(self) -> frozenset[int]:
        """Return the steps after which the model is rated; lambda is zero there."""
        first = math.ceil(self.fade.falling(self.steps))
        zeros = self.steps - first
        count = min(self.checks, zeros)
        return frozenset(first + zeros * (index + 1) // count - 1 for index in range(count))


def _check_shares(values: object, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        if not 0 <= value <= 1:
            raise InputError(f"{name} must be within 0 and 1, not {value}")
