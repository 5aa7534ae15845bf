"""Training while attention fades out of a removal set (paper, section 3.3; design, part 2)."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.models.vision_transformer import Block, VisionTransformer
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

from lambda_nas.core.data import ImageSet
from lambda_nas.core.folding import fold
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import AttentionFreeBlock, check_removal, check_supported
from lambda_nas.errors import NonFiniteError

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


class DilutedBranch(nn.Module):
    """Stands for the attention of a block of the set while lambda falls.

    It holds the whole branch (norm, attention, layer scale, drop path) and gives what timm's block
    then adds to its input ``x``: ``(1 - lam) * x + lam * branch(x)`` with the paper's compensation,
    ``lam * branch(x)`` without.
    """

    def __init__(self, block: Block, compensation: Compensation) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.attn = block.attn
        self.ls1 = block.ls1
        self.drop_path1 = block.drop_path1
        self.compensation = compensation
        self.lam = 1.0

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Map the block's input ``[batch, tokens, channels]`` to what is added to it."""
        kept = (1 - self.lam) * x if self.compensation == "paper" else torch.zeros_like(x)
        if self.lam == 0:
            return kept
        branch = self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        return kept + self.lam * self.drop_path1(self.ls1(branch))


def dilute(
    model: nn.Module, removal: RemovalSet, *, compensation: Compensation = "paper"
) -> VisionTransformer:
    """Return a copy whose blocks of the set are diluted, at lambda 1: the same function.

    Raises:
        LayerIndexError: If a layer does not exist or has no attention.
    """
    check_removal(model, removal)
    diluted = copy.deepcopy(check_supported(model))
    for layer in removal:
        block = diluted.blocks[layer]
        assert isinstance(block, Block)
        block.attn = DilutedBranch(block, compensation)
        block.norm1 = block.ls1 = block.drop_path1 = nn.Identity()
    return diluted


def set_lambda(model: nn.Module, lam: float) -> None:
    """Set lambda, from 1 (attention as it was) to 0 (none), in every diluted block."""
    for module in model.modules():
        if isinstance(module, DilutedBranch):
            module.lam = lam


def finish(model: VisionTransformer) -> VisionTransformer:
    """Return the model at lambda 0 as a plain one: diluted branches gone, factors folded."""
    done = copy.deepcopy(model)
    doubled = []
    for index, block in enumerate(done.blocks):
        branch = getattr(block, "attn", None)
        if isinstance(branch, DilutedBranch):
            done.blocks[index] = AttentionFreeBlock(block)
            if branch.compensation == "paper":
                doubled.append(index)
    return fold(done, RemovalSet.of(doubled)) if doubled else done


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
        NonFiniteError: If a loss is NaN or infinite; names the step.
    """
    device = next(model.parameters()).device
    optimizer = create_optimizer_v2(
        model, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.sched,
        num_epochs=recipe.steps,
        warmup_epochs=max(1, recipe.steps // 10),
        warmup_lr=recipe.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    criterion = LabelSmoothingCrossEntropy(recipe.smoothing)
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        batches = _endless(images, recipe, device)
        for step in range(recipe.steps):
            set_lambda(model, lambda_at(step, recipe))
            batch, labels = next(batches)
            with _mixed_precision(device):
                loss = criterion(model(batch), labels)
            if not torch.isfinite(loss):
                raise NonFiniteError(f"the training loss is {loss.item()} at step {step}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step_update(step + 1)
            if on_step:
                on_step(step, loss.item())
    set_lambda(model, 0.0)
    model.eval()


def _endless(
    images: ImageSet, recipe: Recipe, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        yield from images.batches(recipe.batch_size, device=device, generator=generator)


def _mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return bfloat16 autocast on CUDA: it has float32's range, so no loss scaling is needed."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
