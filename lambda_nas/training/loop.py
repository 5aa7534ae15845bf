"""Training of a pruned or diluted model: on labels, on what the unpruned model says, or both."""

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
    recipe: TrainConfig,
    *,
    teacher: nn.Module | None = None,
    rate: Rate | None = None,
    on_step: Callable[[int, float], None] | None = None,
    keeper: CheckpointStore | None = None,
) -> None:
    """Train in place, with lambda falling to 0; leaves the model in eval mode.

    Args:
        model: Diluted, or pruned already (then there is no lambda to fall).
        images: With labels, if the recipe uses any.
        recipe: What to do.
        teacher: The unpruned model; needed if the recipe's losses are taught.
        rate: Called with the model, in eval mode and at lambda 0, ``recipe.checks`` times; the
            weights with the highest rating are kept. Without it, the last ones are.
        on_step: Called with each step's index and loss.
        keeper: Gets a snapshot now and then, and is asked for the last one before the first step:
            the training goes on there. Not with ``rate``, whose best weights it does not hold.

    Raises:
        InputError: If there are no images, or nothing or nobody to learn from, or for a keeper
            and a rate together.
        NonFiniteError: If a loss is NaN or infinite; names the step.
    """
    _check(images, recipe, teacher)
    if keeper and rate:
        raise InputError("snapshots don't hold the best weights: give a keeper or a rate")
    device = next(model.parameters()).device
    if teacher:
        teacher.eval()
    best = _Best(rate)
    checked = recipe.checked_steps() if rate else frozenset()
    with (
        seeded(recipe.seed, device),
        _only_trainable(model, recipe),
        Objective(model, teacher, recipe.losses) as objective,
    ):
        optimizer, scheduler = _optimizer(model, recipe)
        precision, scaler = _mixed_precision(device)
        average = ModelEmaV3(model, decay=recipe.ema_decay) if recipe.ema_decay else None
        order = EndlessOrder(len(images), recipe.batch_size)
        batches = training_batches(images, order, recipe, _classes(model), device)
        moving = TrainState(model, optimizer, scaler, average, order, device)
        snapshot = keeper.load() if keeper else None
        first = moving.restore(snapshot) if snapshot else 0
        model.train()
        for step in range(first, recipe.steps):
            set_lambda(model, recipe.fade.at(step, recipe.steps))
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
            if keeper and (step + 1) % keeper.every == 0:
                keeper.save(moving.take(step + 1))
    set_lambda(model, 0.0)
    model.eval()
    final = best.weights or (average.module.state_dict() if average else None)
    if final:
        model.load_state_dict(final)


class _Best:
    """The weights with the highest rating so far."""

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


def _check(images: ImageSet, recipe: TrainConfig, teacher: nn.Module | None) -> None:
    if not len(images):
        raise InputError("there are no images to train on")
    if recipe.losses.taught and teacher is None:
        raise InputError("the recipe's losses compare with a teacher, and none is given")


@contextmanager
def _only_trainable(model: nn.Module, recipe: TrainConfig) -> Iterator[None]:
    """Freeze what the recipe leaves alone, as long as training lasts."""
    if recipe.trainable == "all":
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


def _optimizer(model: nn.Module, recipe: TrainConfig) -> tuple[torch.optim.Optimizer, Scheduler]:
    optimizer = create_optimizer_v2(
        model, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.sched,
        num_epochs=recipe.steps,
        warmup_epochs=recipe.steps // 10,
        warmup_lr=recipe.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return optimizer, scheduler


def _mixed_precision(device: torch.device) -> tuple[torch.autocast, torch.amp.GradScaler]:
    """Return autocast where half precision is native; only float16 needs its loss scaled."""
    cuda = device.type == "cuda"
    half = cuda and not torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.float16 if half else torch.bfloat16
    autocast = torch.autocast(device.type, dtype=dtype, enabled=cuda or _cpu_has_bfloat16(device))
    return autocast, torch.amp.GradScaler(device.type, enabled=half)


def _cpu_has_bfloat16(device: torch.device) -> bool:
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))
