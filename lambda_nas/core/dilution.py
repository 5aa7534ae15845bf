"""Attention that fades out of a removal set (paper, section 3.3; design, part 2)."""

import copy
from typing import Literal

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from lambda_nas.core.folding import check_foldable, fold
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import check_removal, check_supported, remove_attention
from lambda_nas.errors import InputError, LayerIndexError

Compensation = Literal["paper", "none"]


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
    if not 0 <= lam <= 1:
        raise InputError(f"lambda must be within 0 and 1, not {lam}")
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
