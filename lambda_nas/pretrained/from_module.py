"""Takes a network in memory as the model of a search."""

import copy
import json

from torch import nn

from lambda_nas.errors import InputError, LambdaNasError
from lambda_nas.pretrained.loading import NOTHING, LoadedModel, ModelConfig, fingerprint
from lambda_nas.pretrained.rebuild import build


def from_module(model: nn.Module) -> LoadedModel:
    """Return a copy of a network in memory, in single precision, as a loaded model.

    Raises:
        InputError: If timm did not build it, or if timm's record of it no longer rebuilds it.
        UnsupportedModelError: If its family is not supported.
    """
    if not getattr(model, "pretrained_cfg", None):
        raise InputError(
            "was not built by timm, so it can't be rebuilt for an export",
            parameter="model",
            value=type(model).__name__,
            advice="create the model with timm.create_model and load your weights into it",
        )
    # Images are in single precision.
    own = copy.deepcopy(model).cpu().float().eval()
    config = ModelConfig.of(own)
    _check_rebuilds(own, config)
    return LoadedModel(own, config.architecture, config, fingerprint(own, config))


def _check_rebuilds(model: nn.Module, config: ModelConfig) -> None:
    """Check before the search that the network can be rebuilt for an export after it."""
    try:
        json.dumps(config.model_args)
        build(config, removal=NOTHING, state=model.state_dict())
    except LambdaNasError:
        raise
    # timm and torch have no error base in common.
    except Exception as error:
        raise InputError(
            f"is not what timm builds from what it recorded of it ({' '.join(str(error).split())})",
            parameter="model",
            value=config.architecture,
            advice="create it with timm.create_model, with arguments that JSON can hold, and "
            "change nothing but weights and head",
        ) from error
