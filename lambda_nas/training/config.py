"""The configuration of one slice of training, as plain values."""

import math
from dataclasses import dataclass, field
from typing import Literal

from lambda_nas.errors import InputError


@dataclass(frozen=True)
class LambdaSchedule:
    """How lambda falls to zero in the diluted blocks, one value per step.

    Attributes:
        start: Lambda at the first step.
        share: Fraction of the steps over which lambda falls; from then on, and always at the last
            step, it is zero.
        shape: Whether lambda falls along a straight line or half a cosine wave.
    """

    start: float = 1.0
    share: float = 0.5
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        _check_shares(self, "start", "share")

    def at(self, step: int, steps: int) -> float:
        """Return lambda at ``step``, counted from 0, of ``steps``."""
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
    """The weights of the training loss, a sum of up to three terms.

    Attributes:
        labels: Weight of the cross-entropy with the labels.
        logits: Weight of the relative entropy (nats) between the predictions of the teacher and
            the student.
        hidden: Weight of the squared distance between the block outputs of teacher and student,
            with each token normalized; prefix tokens and patch tokens count half each.
        smoothing: Label smoothing, 0..1.
    """

    labels: float = 1.0
    logits: float = 0.0
    hidden: float = 0.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(self, "smoothing")
        weights = (self.labels, self.logits, self.hidden)
        if not all(weight >= 0 for weight in weights) or not any(weights):
            raise InputError("no loss weight may be negative, and at least one must be positive")

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss needs a teacher."""
        return self.logits > 0 or self.hidden > 0


@dataclass(frozen=True)
class Augmentation:
    """How timm's transforms and mixup vary the images; by default, not at all.

    Attributes:
        crop: Smallest fraction of the area that a random crop keeps; 1 disables cropping.
        hflip: Probability of a horizontal flip.
        policy: timm's ``auto_augment`` string, such as ``rand-m9-mstd0.5-inc1``.
        mixup: Alpha of mixup; 0 disables it.
        cutmix: Alpha of CutMix; 0 disables it.
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
        """Whether each image is varied on its own."""
        return self.crop < 1 or self.hflip > 0 or self.policy is not None

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of one slice of training.

    Attributes:
        steps: Number of optimizer steps.
        batch_size: Images per step.
        lr: Peak learning rate.
        seed: Random seed for the order and augmentation of the images and for dropout.
        lambda_schedule: How lambda falls, if the model is diluted.
        losses: The weights of the loss terms.
        augmentation: How images are varied.
        trainable: Whether all parameters are trained, or only the blocks without attention and
            the diluted blocks.
        ema_decay: Decay of the moving average of the weights that the model ends with; 0 keeps
            the last weights instead.
        checks: How often the model is rated, spread evenly over the steps at lambda 0.
        opt: Name of the optimizer for timm's factory.
        sched: Name of the learning rate schedule for timm's factory.
        weight_decay: Weight decay of the optimizer.
    """

    steps: int
    batch_size: int
    lr: float
    seed: int = 0
    lambda_schedule: LambdaSchedule = field(default_factory=LambdaSchedule)
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
                raise InputError("must be at least 1", parameter=name, value=getattr(self, name))
        _check_shares(self, "ema_decay")
        if self.augmentation.mixes and self.batch_size % 2:
            raise InputError(
                "must be even for mixup", parameter="batch_size", value=self.batch_size
            )

    def checked_steps(self) -> frozenset[int]:
        """Return the steps after which the model is rated, all with lambda at 0."""
        first = math.ceil(self.lambda_schedule.falling(self.steps))
        zeros = self.steps - first
        count = min(self.checks, zeros)
        return frozenset(first + zeros * (index + 1) // count - 1 for index in range(count))


def _check_shares(values: object, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        if not 0 <= value <= 1:
            raise InputError("must be within 0 and 1", parameter=name, value=value)
