"""Training of a pruned or diluted model on labels, on the unpruned model's outputs, or on both."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import InputError, NonFiniteError
from lambda_nas.models.branches import find_branches
from lambda_nas.training.augmentation import EndlessOrder, seeded, training_batches
from lambda_nas.training.checkpoints import CheckpointStore, TrainState
from lambda_nas.training.config import TrainConfig
from lambda_nas.training.dilution import is_diluted, set_lambda
from lambda_nas.training.distillation import Objective

Rate = Callable[[nn.Module], float]


def train(
    model: nn.Module,
    images: ImageSet,
    config: TrainConfig,
    *,
    teacher: nn.Module | None = None,
    rate: Rate | None = None,
    on_step: Callable[[int, float], None] | None = None,
    checkpoints: CheckpointStore | None = None,
) -> None:
    """Train a model in place while lambda falls to 0, and leave it in eval mode.

    Args:
        model: A diluted model, or a pruned one, which has no lambda.
        images: The training images; labels are needed only if ``config.losses`` uses them.
        config: The training configuration.
        teacher: The unpruned model; needed for distillation losses.
        rate: Rates the model, in eval mode and at lambda 0, ``config.checks`` times; the weights
            with the highest rating are kept. Without it, the last weights are kept.
        on_step: Called with the index and loss of each step.
        checkpoints: Stores a checkpoint every so many steps; training resumes from the last one.
            Not allowed with ``rate``, because checkpoints don't hold the best weights.

    Raises:
        InputError: If there are no images, no teacher for a distillation loss or no block to
            train, or if both ``checkpoints`` and ``rate`` are given.
        NonFiniteError: If a loss is NaN or infinite; names the step.
    """
    _check(images, config, teacher)
    if checkpoints and rate:
        raise InputError(
            "checkpoints don't hold the best weights: give either `checkpoints` or `rate`"
        )
    device = next(model.parameters()).device
    if teacher:
        teacher.eval()
    best = _Best(rate)
    checked = config.checked_steps() if rate else frozenset()
    with (
        seeded(config.seed, device),
        _only_trainable(model, config),
        Objective(model, teacher, config.losses) as objective,
    ):
        optimizer, scheduler = _optimizer(model, config)
        precision, scaler = _mixed_precision(device)
        average = ModelEmaV3(model, decay=config.ema_decay) if config.ema_decay else None
        order = EndlessOrder(len(images), config.batch_size)
        batches = training_batches(images, order, config, _classes(model), device)
        state = TrainState(model, optimizer, scaler, average, order, device)
        checkpoint = checkpoints.load() if checkpoints else None
        first = state.restore(checkpoint) if checkpoint else 0
        model.train()
        for step in range(first, config.steps):
            set_lambda(model, config.lambda_schedule.at(step, config.steps))
            with precision:
                loss = objective(*next(batches))
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteError(f"the training loss is {value} at step {step}")
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step_update(step + 1)
            if average:
                average.update(model)
            if on_step:
                on_step(step, value)
            if step in checked:
                best.offer(average.module if average else model)
                model.train()
            if checkpoints and (step + 1) % checkpoints.every == 0:
                checkpoints.save(state.take(step + 1))
    set_lambda(model, 0.0)
    model.eval()
    final = best.weights or (average.module.state_dict() if average else None)
    if final:
        model.load_state_dict(final)


class _Best:
    """Keeps the weights with the highest rating so far."""

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._rating = -math.inf
        self.weights: dict[str, Tensor] | None = None

    def offer(self, model: nn.Module) -> None:
        assert self._rate
        set_lambda(model, 0.0)
        rating = self._rate(model.eval())
        if rating > self._rating:
            self._rating = rating
            self.weights = {name: value.clone() for name, value in model.state_dict().items()}


def _check(images: ImageSet, config: TrainConfig, teacher: nn.Module | None) -> None:
    if not len(images):
        raise InputError("there are no images to train on")
    if config.losses.needs_teacher and teacher is None:
        raise InputError("the training losses need a teacher, and none is given")


@contextmanager
def _only_trainable(model: nn.Module, config: TrainConfig) -> Iterator[None]:
    """Freeze the parameters that ``config.trainable`` excludes, and restore them afterwards."""
    if config.trainable == "all":
        yield
        return
    chosen = {
        id(parameter)
        for branch in find_branches(model)
        if branch.removed or is_diluted(model.get_submodule(branch.path))
        for parameter in model.get_submodule(branch.path).parameters()
    }
    if not chosen:
        raise InputError("no attention is removed from the model: there is no block to train")
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(id(parameter) in chosen)
        yield
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)


def _classes(model: nn.Module) -> int:
    classes: Any = model.num_classes
    return int(classes)


def _optimizer(model: nn.Module, config: TrainConfig) -> tuple[torch.optim.Optimizer, Scheduler]:
    optimizer = create_optimizer_v2(
        model, opt=config.opt, lr=config.lr, weight_decay=config.weight_decay
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=config.sched,
        num_epochs=config.steps,
        warmup_epochs=config.steps // 10,
        warmup_lr=config.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return optimizer, scheduler


def _mixed_precision(device: torch.device) -> tuple[torch.autocast, torch.amp.GradScaler]:
    """Return autocast, enabled where half precision is native, and a scaler for float16 losses."""
    cuda = device.type == "cuda"
    half = cuda and not torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.float16 if half else torch.bfloat16
    autocast = torch.autocast(device.type, dtype=dtype, enabled=cuda or _cpu_has_bfloat16(device))
    return autocast, torch.amp.GradScaler(device.type, enabled=half)


def _cpu_has_bfloat16(device: torch.device) -> bool:
    # PyTorch 2.6 can't tell: it trains in single precision.
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))
