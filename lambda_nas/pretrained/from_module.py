"""A network in memory as the model of a search."""

import copy
import json

from torch import nn

from lambda_nas.errors import InputError, LambdaNasError
from lambda_nas.pretrained.loading import NOTHING, LoadedModel, ModelConfig, fingerprint
from lambda_nas.pretrained.rebuild import build


def from_module(model: nn.Module) -> LoadedModel:
    """Take a network as it is, weights and all; the one returned is a copy in single precision.

    Raises:
        InputError: If timm did not build it, or what timm recorded then no longer builds it.
        UnsupportedModelError: If it is of no supported family.
    """
    if not getattr(model, "pretrained_cfg", None):
        raise InputError(
            f"the {type(model).__name__} was not built by timm, so nobody knows how to build its "
            "like: use timm.create_model, and load your weights into that"
        )
    # The images come in single precision.
    own = copy.deepcopy(model).cpu().float().eval()
    config = ModelConfig.of(own)
    _check_rebuilds(own, config)
    return LoadedModel(own, config.architecture, config, fingerprint(own, config))


def _check_rebuilds(model: nn.Module, config: ModelConfig) -> None:
    """Know before a search, not at the export after it."""
    try:
        json.dumps(config.model_args)
        build(config, removal=NOTHING, state=model.state_dict())
    except LambdaNasError:
        raise
    # timm and torch have no error base in common.
    except Exception as error:
        raise InputError(
            f"the {config.architecture} is not what timm builds from what it recorded of it "
            f"({' '.join(str(error).split())}): make it with timm.create_model, with arguments "
            "that JSON can hold, and change nothing but weights and head"
        ) from error
