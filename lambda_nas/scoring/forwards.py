"""The outputs of a model under removal sets, with cached states where the model allows it."""

from typing import Any

import torch
from torch import Tensor, nn

from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import removable_layers, remove_attention
from lambda_nas.scoring.activation_cache import LIMIT_BYTES, ActivationCache
from lambda_nas.token_merging.blocks import merge_tokens


class WholeForwards:
    """Runs the whole model for each removal set, where blocks can't be run one by one.

    Args:
        model: The unpruned model; it is put in eval mode, and its weights must not change.
        images: Calibration images; their labels are not used.
        batch_size: Images per forward pass.
    """

    def __init__(self, model: nn.Module, images: ImageSet, *, batch_size: int = 64) -> None:
        self.model = model.eval()
        self.images = images
        self.layers = removable_layers(model)
        self._batch_size = batch_size

    @torch.inference_mode()
    def head(self, removal: RemovalSet, merging: Merging = NO_MERGING) -> tuple[Tensor, Tensor]:
        """Return features ``[images, channels]`` and logits ``[images, classes]``.

        Raises:
            UnsupportedModelError: If ``merging`` merges tokens and the model can't.
        """
        model: Any = remove_attention(self.model, removal).model if removal else self.model
        if merging:
            model = merge_tokens(model, merging)
        features, logits = [], []
        device = next(model.parameters()).device
        for images, _ in self.images.batches(self._batch_size, device=device):
            state = model.forward_features(images)
            features.append(model.forward_head(state, pre_logits=True))
            logits.append(model.forward_head(state))
        return torch.cat(features), torch.cat(logits)

    def keep_only_above(self, removal: RemovalSet) -> None:
        """Do nothing, because no states are cached."""


Forwards = ActivationCache | WholeForwards


def forwards_of(model: nn.Module, images: ImageSet, *, limit_bytes: int = LIMIT_BYTES) -> Forwards:
    """Return an ``ActivationCache`` if the model allows it, else ``WholeForwards``.

    Args:
        model: The unpruned model.
        images: Calibration images.
        limit_bytes: Maximum size of the cached states.
    """
    if is_blockwise(model):
        return ActivationCache(model, images, limit_bytes=limit_bytes)
    return WholeForwards(model, images)
