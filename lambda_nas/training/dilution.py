"""Dilution: fading out the attention branches of a removal set (paper, section 3.3)."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lambda_nas.errors import InputError, LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import pass_through, zeros
from lambda_nas.models.blockwise import window_misfit
from lambda_nas.models.branches import Branch, find_branches
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import (
    ModelT,
    bypass,
    check_removal,
    gives_its_size,
    remove_attention,
)
from lambda_nas.training.folding import check_foldable, fold

Compensation = Literal["paper", "none"]


class _Fading(nn.Module):
    """Replaces a module of the branch while lambda falls."""

    lam: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Lambda is a tensor so that a compiled graph is valid for all of its values; whether it is
        # zero is also kept as a bool, so that asking does not wait for the device.
        self.register_buffer("lam", torch.ones(()), persistent=False)
        self.active = True

    def set_lambda(self, lam: float) -> None:
        """Set lambda of this branch, 0..1."""
        self.lam.fill_(lam)
        self.active = lam != 0


class FadingAttention(_Fading):
    """Multiplies the output of a branch's last module by lambda, without compensation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.whole = module
        self.train(module.training)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the module's output times lambda; a size returned beside it is passed on."""
        if not self.active and not gives_its_size(self.whole):
            return zeros(x)
        found = self.whole(x, *args, **kwargs)
        if isinstance(found, tuple):
            return self.lam * found[0], *found[1:]
        return self.lam * found


class CompensatedAttention(_Fading):
    """Replaces the whole attention branch of a pre-norm block, with the paper's compensation.

    It returns ``(1 - lam) * x + lam * branch(x)``, which the block adds to its input ``x``.
    """

    def __init__(self, block: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        self.attention, *others = parts
        self.after = tuple(name for name in others if name != "norm1")
        for name in parts:
            setattr(self, name, getattr(block, name))
        self.train(block.training)

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Map the block's input ``[batch, tokens, channels]`` to what the block adds to it."""
        if not self.active:
            return x
        normed = self.get_submodule("norm1")(x)
        out = self.get_submodule(self.attention)(normed, *args, **kwargs)
        return (1 - self.lam) * x + self.lam * pass_through(self, self.after, out)


def dilute(model: ModelT, removal: RemovalSet, *, compensation: Compensation = "paper") -> ModelT:
    """Return a copy with the blocks of the removal set diluted; at lambda 1 its outputs are equal.

    Raises:
        LayerIndexError: If a layer does not exist or has no attention, or if the model is diluted.
        UnsupportedModelError: If the paper's compensation could not be folded afterwards, or if
            Swin pads the feature map to fill its windows: padding must not be compensated.
    """
    check_removal(model, removal)
    if any(isinstance(module, _Fading) for module in model.modules()):
        raise LayerIndexError("the model is diluted already: finish it first")
    if compensation == "paper":
        check_foldable(model, removal)
    diluted = copy.deepcopy(model)
    branches = find_branches(diluted)
    for layer in removal:
        block = diluted.get_submodule(branches[layer].path)
        if compensation == "paper" and (misfit := window_misfit(block)):
            raise UnsupportedModelError(f"{misfit}; train with `compensation=none`")
        _dilute(block, branches[layer], compensation)
    return diluted.to(next(diluted.parameters()).device)


def _dilute(block: nn.Module, branch: Branch, compensation: Compensation) -> None:
    if compensation == "none":
        setattr(block, branch.last, FadingAttention(block.get_submodule(branch.last)))
        return
    whole = CompensatedAttention(block, branch.parts)
    setattr(block, branch.attention, whole)
    for name in branch.parts[1:]:
        bypass(block, name)


def set_lambda(model: nn.Module, lam: float) -> None:
    """Set lambda in every diluted block, from 1 (full attention) to 0 (none).

    Raises:
        InputError: If lambda is not within 0..1.
    """
    if not 0 <= lam <= 1:
        raise InputError(f"lambda must be within 0 and 1, not {lam}")
    for module in model.modules():
        if isinstance(module, _Fading):
            module.set_lambda(lam)


def finish(model: ModelT) -> ModelT:
    """Return a copy of a model at lambda 0 with its diluted branches removed and factors folded.

    Raises:
        InputError: If lambda is not 0, so that removing the branches would change the outputs.
    """
    branches = {
        index: fading
        for index, branch in enumerate(find_branches(model))
        for fading in model.get_submodule(branch.path).children()
        if isinstance(fading, _Fading)
    }
    if any(branch.active for branch in branches.values()):
        raise InputError("lambda is not 0 in the diluted model: call set_lambda(model, 0) first")
    if not branches:
        return copy.deepcopy(model)
    plain = remove_attention(model, RemovalSet.of(branches)).model
    doubled = RemovalSet.of(
        index for index, fading in branches.items() if isinstance(fading, CompensatedAttention)
    )
    return cast("ModelT", fold(plain, doubled)) if doubled else plain


def is_diluted(block: nn.Module) -> bool:
    """Return whether the block is diluted."""
    return any(isinstance(child, _Fading) for child in block.children())
