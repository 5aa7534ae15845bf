"""Registers this package's architectures in timm.

Both use ``build_model_with_cfg``, because an entry point that ignores ``pretrained`` would silently
return random weights.

This module is imported as soon as timm is, whichever of our modules imports timm first. So it
imports other modules of ours in its functions only.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    get_pretrained_cfg,
    register_model,
)
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

if TYPE_CHECKING:
    from lambda_nas.models.merging import Merging
    from lambda_nas.models.removal import RemovalSet

PRUNED_ARCHITECTURE = "lambda_nas_pruned"
DIGITS_ARCHITECTURE = "digits_vit"
DIGITS_ARGS = {
    **{"patch_size": 2, "embed_dim": 48, "depth": 12, "num_heads": 4},
    "weight_init": "jax",
}
"""Arguments that make timm's ``VisionTransformer`` the ViT of the digits."""

default_cfgs = generate_default_cfgs(
    {
        DIGITS_ARCHITECTURE: {
            "input_size": (1, 8, 8),
            "fixed_input_size": True,
            "num_classes": 10,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.3,),
            "std": (0.36,),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


# timm passes its callers' keywords on to entry points, so these must accept any.
@register_model
def lambda_nas_pruned(
    pretrained: bool = False,
    *,
    base: str,
    removed: Sequence[int],
    doubled: Sequence[int] = (),
    merging: Sequence[int] | None = None,
    pretrained_cfg: dict[str, Any] | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> nn.Module:
    """Build ``base`` without the attention branches of ``removed``.

    Args:
        pretrained: Load the weights that ``pretrained_cfg`` names.
        base: timm's name of the unpruned architecture.
        removed: Indices of the blocks without attention.
        doubled: Blocks whose doubled residual was folded (``training.folding``).
        merging: ``r`` and ``start`` of a ``models.merging.Merging``, if tokens are merged.
        pretrained_cfg: Where the weights are; by default the base's data settings without weights.
        **kwargs: Any argument of timm or of the base's constructor.

    Raises:
        UnsupportedModelError: If the base's family is not supported or can't merge tokens.
        LayerIndexError: If a layer does not exist in the base.
        InputError: If tokens are to be merged but no block with attention is left to merge them.
    """
    from lambda_nas.models.merging import Merging
    from lambda_nas.models.removal import RemovalSet

    if not pretrained_cfg:
        known = get_pretrained_cfg(base)
        pretrained_cfg = known.to_dict(remove_source=True) if known else {}
    build = partial(
        _build_pruned,
        base,
        RemovalSet.of(removed),
        RemovalSet.of(doubled),
        Merging(*merging) if merging else None,
    )
    return build_model_with_cfg(
        build,
        PRUNED_ARCHITECTURE,
        pretrained,
        pretrained_cfg={**pretrained_cfg, "architecture": PRUNED_ARCHITECTURE},
        pretrained_filter_fn=_filter,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **kwargs,
    )


@register_model
def digits_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:  # noqa: ANN401
    """Build the 12-block ViT of the built-in default, for 8x8 grayscale images of 10 classes."""
    return build_model_with_cfg(
        VisionTransformer,
        DIGITS_ARCHITECTURE,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **{**DIGITS_ARGS, **kwargs},
    )


def _build_pruned(
    base: str,
    removal: "RemovalSet",
    doubled: "RemovalSet",
    merging: "Merging | None",
    **kwargs: Any,  # noqa: ANN401
) -> nn.Module:
    from lambda_nas.models.surgery import removable_layers, remove_attention
    from lambda_nas.token_merging.blocks import merge_tokens
    from lambda_nas.training.folding import scale_norms

    model = timm.create_model(base, pretrained=False, **kwargs)
    removable_layers(model)
    if removal:
        model = remove_attention(model, removal).model
    if doubled:
        scale_norms(model, doubled)
    return merge_tokens(model, merging) if merging else model


def _filter(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert old parameter names and other image sizes, as timm does for its ViT."""
    return checkpoint_filter_fn(state, model) if isinstance(model, VisionTransformer) else state
