"""Where the residual self-attention branches of a timm model are, and what each consists of.

A block adds the output of its attention to its input. timm's families differ in what they call the
parts; ``CONVENTIONS`` holds those names. Nothing else in the package knows them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from torch import nn

from lambda_nas.models.attention_free import AttentionFreeBlock, NoAttention, NoBranch
from lambda_nas.models.timm_names import timm_class, timm_classes

PRE_NORM_BLOCKS = (
    ("models.vision_transformer", "Block"),
    ("models.vision_transformer_relpos", "RelPosBlock"),
    ("models.eva", "EvaBlock"),
    ("models.beit", "Block"),
    ("models.cait", "LayerScaleBlock"),
    ("models.convit", "Block"),
    ("models.deepseek_vit", "DeepseekVitBlock"),
    ("models.swin_transformer", "SwinTransformerBlock"),
)
"""Blocks of two halves, attention and MLP, whose MLP half works alone."""

SELF_ATTENTION = re.compile(r"Att(entio)?n|MHSA|XCA|LiteMLA|SHSA|SHMA")
# Attention of a class token over the patches is how these models read out their features.
OTHER_ATTENTION = re.compile(r"^Class|^CrossAttention|Pool")

PARALLEL = "attention and MLP are one parallel branch"
UNREMOVABLE = {
    ("models.vision_transformer", "ParallelScalingBlock"): PARALLEL,
    ("models.vision_transformer", "DiffParallelScalingBlock"): PARALLEL,
    (
        "models.vision_transformer",
        "ParallelThingsBlock",
    ): "attention layers in parallel share one branch",
    (
        "models.maxxvit",
        "ParallelPartitionAttention",
    ): "attention layers in parallel share one branch",
    ("models.coat", "ParallelBlock"): "attention layers of several scales are added to each other",
}
DOWNSAMPLES = "its attention also downsamples"

POST_NORM_BLOCKS = {
    ("models.vision_transformer", "ResPostBlock"): "norm1",
    ("models.vision_transformer_relpos", "ResPostRelPosBlock"): "norm1",
    ("models.eva", "EvaBlockPostNorm"): "norm1",
    ("models.swin_transformer_v2", "SwinTransformerV2Block"): "norm1",
    ("models.swin_transformer_v2_cr", "SwinTransformerV2CrBlock"): "norm1",
    ("models.gemma4_vit", "Gemma4Block"): "norm2",
}
"""The norms after attention, whose bias is added even if attention returns zeros."""


class _Convention(NamedTuple):
    """A block's names for its attention and the parts of that branch, and a child it must have."""

    attention: str
    parts: tuple[str, ...] = ()
    beside: str | None = None


_LAYER_SCALES = ("ls1", "gamma_1", "gamma1", "layer_scale1", "layer_scale_1")
# The first convention that fits applies.
CONVENTIONS = (
    # Gemma's norm2 belongs to the attention, norm3 and norm4 to the MLP.
    _Convention("attn", ("norm1", "norm2"), beside="norm4"),
    _Convention("attn", ("layer_scale_1",), beside="linear"),
    _Convention("attn", ("norm", "layer_scale"), beside="layer_scale"),
    _Convention("attn", ("norm1", *_LAYER_SCALES, "drop_path1"), beside="mlp"),
    _Convention("token_mixer", ("norm1", "norm", *_LAYER_SCALES, "drop_path1"), beside="mlp"),
    _Convention("attn_in", ("norm_in",)),
    _Convention("attn_out", ("norm_out",)),
    _Convention("xca", ("norm_xca", "gamma_xca")),
    _Convention("factoratt_crpe", ("norm1",)),
    _Convention("e_mhsa", ("norm1", "mhsa_drop_path")),
)
WRAPPED = ("main", "m", "module")
"""What a module that does nothing but add a branch to its input calls that branch."""

_SHORTCUTS = ("shortcut", "shortcut_proj_attn", "shortcut_pool_attn")
_POOLS = ("do_expand", "downsample", "q_stride")


@dataclass(frozen=True)
class Branch:
    """A residual self-attention branch, present or removed.

    Attributes:
        path: Path of the module that adds the branch to its input, for ``get_submodule``.
        attention: Name of that module's attention; empty once the module is replaced.
        parts: Names of that module's children and parameters in the branch, attention included.
        last: Name of the last child of the branch that does more than scale its output.
        obstacle: Why the branch can't be removed; ``None`` if it can.
        removed: Whether the branch is removed already.
    """

    path: str
    attention: str = ""
    parts: tuple[str, ...] = ()
    last: str = ""
    obstacle: str | None = None
    removed: bool = False


def is_pre_norm_block(module: nn.Module) -> bool:
    """Say whether a module is one of the ``PRE_NORM_BLOCKS``."""
    return isinstance(module, timm_classes(*PRE_NORM_BLOCKS))


def find_branches(model: nn.Module) -> tuple[Branch, ...]:
    """Return the model's attention branches in the order of its modules.

    A branch's position is its layer index, whatever is removed. In a ViT it is the index of the
    block.
    """
    found = []
    for path, module in model.named_modules():
        if isinstance(module, AttentionFreeBlock | NoBranch):
            found.append(Branch(path, removed=True))
        elif obstacle := _unremovable().get(
            type(module), getattr(module, "removal_obstacle", None)
        ):
            found.append(Branch(path, obstacle=obstacle))
        else:
            found.extend(_branches_of(path, module))
    return tuple(found)


@cache
def _unremovable() -> Mapping[type[nn.Module] | None, str]:
    return {timm_class(*name): reason for name, reason in UNREMOVABLE.items()}


@cache
def _post_norms() -> Mapping[type[nn.Module] | None, str]:
    return {timm_class(*name): norm for name, norm in POST_NORM_BLOCKS.items()}


def _branches_of(path: str, module: nn.Module) -> Iterator[Branch]:
    for attention in WRAPPED:
        if _attends(getattr(module, attention, None)):
            yield Branch(path, attention, (attention,), attention, _obstacle(module))
    taken: set[str] = set()
    for convention in CONVENTIONS:
        name, child = convention.attention, getattr(module, convention.attention, None)
        fits = convention.beside is None or hasattr(module, convention.beside)
        if name not in taken and fits and _attends(child):
            taken.add(name)
            parts = (name, *(part for part in convention.parts if _has(module, part)))
            last = _post_norms().get(type(module), name)
            removed = isinstance(child, NoAttention)
            yield Branch(path, name, parts, last, _obstacle(module), removed=removed)


def _attends(module: nn.Module | None) -> bool:
    if isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    name = type(module).__name__
    return bool(SELF_ATTENTION.search(name)) and not OTHER_ATTENTION.search(name)


def _has(module: nn.Module, name: str) -> bool:
    return getattr(module, name, None) is not None


def _obstacle(module: nn.Module) -> str | None:
    """Return why a module's branch can't be removed: it has no residual, or not an identity."""
    if getattr(module, "has_skip", True) is False or getattr(module, "shortcut", module) is None:
        return "its attention has no residual"
    changed = any(
        not isinstance(getattr(module, name, None), nn.Identity | None) for name in _SHORTCUTS
    )
    widens = "dim_out" in vars(module) and vars(module).get("dim") != module.dim_out
    pools = any(getattr(module, name, False) for name in _POOLS)
    return DOWNSAMPLES if changed or widens or pools else None
