"""Training while attention fades out of a removal set (paper, section 3.3; design, part 2)."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.models.vision_transformer import Block, VisionTransformer
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

from lambda_nas.core.data import ImageSet
from lambda_nas.core.folding import check_foldable, fold
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import check_removal, check_supported, remove_attention
from lambda_nas.errors import InputError, LayerIndexError, NonFiniteError

Compensation = Literal["paper", "none"]


@dataclass(frozen=True)
class Recipe:
    """One slice of training.

    Attributes:
        steps: Optimizer steps.
        batch_size: Images a step.
        lr: Peak learning rate.
        seed: Of the order of images and of dropout.
        lambda_start: Lambda at the first step.
        anneal: Share of the steps over which lambda falls, linearly, to zero.
        opt: A name that timm's optimizer factory knows.
        sched: A name that timm's scheduler factory knows.
        weight_decay: Of the optimizer.
        smoothing: Of the labels.
    """

    steps: int
    batch_size: int
    lr: float
    seed: int = 0
    lambda_start: float = 1.0
    anneal: float = 0.5
    opt: str = "adamw"
    sched: str = "cosine"
    weight_decay: float = 0.05
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("lambda_start", "anneal"):
            _check_share(name, getattr(self, name))


class DilutedBranch(nn.Module):
    """Stands for the attention of a block of the set while lambda falls.

    It holds the whole branch (norm, attention, layer scale, drop path) and gives what timm's block
    then adds to its input ``x``: ``(1 - lam) * x + lam * branch(x)`` with the paper's compensation,
    ``lam * branch(x)`` without.
    """

    lam: Tensor

    def __init__(self, block: Block, compensation: Compensation) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.attn = block.attn
        self.ls1 = block.ls1
        self.drop_path1 = block.drop_path1
        self.compensation = compensation
        # Lambda is a tensor so that a compiled graph holds for all of its values, and whether it
        # is zero is a bool besides so that asking does not wait for the device.
        self.register_buffer("lam", torch.ones(()), persistent=False)
        self.active = True
        self.train(block.training)

    def set_lambda(self, lam: float) -> None:
        """Set this branch's lambda, 0..1."""
        self.lam.fill_(lam)
        self.active = lam != 0

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Map the block's input ``[batch, tokens, channels]`` to what is added to it."""
        paper = self.compensation == "paper"
        if not self.active:
            return x if paper else x.new_zeros(())
        branch = self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        faded = self.lam * self.drop_path1(self.ls1(branch))
        return (1 - self.lam) * x + faded if paper else faded


def dilute(
    model: nn.Module, removal: RemovalSet, *, compensation: Compensation = "paper"
) -> VisionTransformer:
    """Return a copy whose blocks of the set are diluted, at lambda 1: the same function.

    Raises:
        LayerIndexError: If a layer does not exist or has no attention, or if the model is diluted.
        UnsupportedModelError: If the paper's compensation could not be folded afterwards.
    """
    check_removal(model, removal)
    if any(isinstance(module, DilutedBranch) for module in model.modules()):
        raise LayerIndexError("the model is diluted already: finish it first")
    if compensation == "paper":
        check_foldable(model, removal)
    diluted = copy.deepcopy(check_supported(model))
    device = next(diluted.parameters()).device
    for layer in removal:
        block = diluted.blocks[layer]
        assert isinstance(block, Block)
        block.attn = DilutedBranch(block, compensation).to(device)
        block.norm1 = block.ls1 = block.drop_path1 = nn.Identity()
    return diluted


def set_lambda(model: nn.Module, lam: float) -> None:
    """Set lambda, from 1 (attention as it was) to 0 (none), in every diluted block.

    Raises:
        InputError: If lambda is not within 0..1.
    """
    _check_share("lambda", lam)
    for module in model.modules():
        if isinstance(module, DilutedBranch):
            module.set_lambda(lam)


def finish(model: VisionTransformer) -> VisionTransformer:
    """Return a plain copy of a model at lambda 0: diluted branches gone, factors folded.

    Raises:
        InputError: If lambda is not 0: the plain model would be another function.
    """
    branches = {
        index: block.attn
        for index, block in enumerate(model.blocks)
        if isinstance(block, Block) and isinstance(block.attn, DilutedBranch)
    }
    if any(branch.active for branch in branches.values()):
        raise InputError("the diluted model still attends: call set_lambda(model, 0) first")
    if not branches:
        return copy.deepcopy(model)
    plain = remove_attention(model, RemovalSet.of(branches)).model
    doubled = (index for index, branch in branches.items() if branch.compensation == "paper")
    return fold(plain, RemovalSet.of(doubled))


def lambda_at(step: int, recipe: Recipe) -> float:
    """Return lambda at a step: linear from ``lambda_start`` to 0, and 0 at the last step."""
    falling = min(recipe.anneal * recipe.steps, recipe.steps - 1)
    if step >= falling:
        return 0.0
    return recipe.lambda_start * (1 - step / falling)


def train(
    model: nn.Module,
    images: ImageSet,
    recipe: Recipe,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train in place on labels, with lambda falling to 0; leaves the model in eval mode.

    Args:
        model: Diluted, or pruned already (then there is no lambda to fall).
        images: With labels.
        recipe: What to do.
        on_step: Called with each step's index and loss.

    Raises:
        InputError: If there are no images.
        NonFiniteError: If a loss is NaN or infinite; names the step.
    """
    if not len(images):
        raise InputError("there are no images to train on")
    device = next(model.parameters()).device
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
    criterion = LabelSmoothingCrossEntropy(recipe.smoothing)
    precision, scaler = _mixed_precision(device)
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        batches = _endless(images, recipe, device)
        for step in range(recipe.steps):
            set_lambda(model, lambda_at(step, recipe))
            batch, labels = next(batches)
            with precision:
                loss = criterion(model(batch), labels)
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteError(f"the training loss is {value} at step {step}")
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step_update(step + 1)
            if on_step:
                on_step(step, value)
    set_lambda(model, 0.0)
    model.eval()


def _endless(
    images: ImageSet, recipe: Recipe, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        yield from images.batches(recipe.batch_size, device=device, generator=generator)


def _mixed_precision(device: torch.device) -> tuple[torch.autocast, torch.amp.GradScaler]:
    """Return autocast on CUDA, none elsewhere; only float16 needs its loss scaled."""
    cuda = device.type == "cuda"
    half = cuda and not torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.float16 if half else torch.bfloat16
    autocast = torch.autocast(device.type, dtype=dtype, enabled=cuda)
    return autocast, torch.amp.GradScaler(device.type, enabled=half)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be within 0 and 1, not {value}")
