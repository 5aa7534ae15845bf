"""Takes a network in memory as the model of a search."""

import json
from typing import Any

import timm
import torch
from timm.models import filter_pretrained_cfg, get_model_args, get_model_input_config
from torch import Tensor, nn

from lambda_nas.errors import InputError, LambdaNasError
from lambda_nas.pretrained.fitting import classes_of, misfit, record_size, resize
from lambda_nas.pretrained.loading import LoadedModel, ModelConfig, fingerprint
from lambda_nas.pretrained.unwrapping import copy_without_hooks, hooked, plain_state, unwrap

TOLERANCE = 1e-3
ADVICE = (
    "create it with timm.create_model, with arguments that JSON can hold, give it another head "
    "with model.reset_classifier, and change nothing else but weights"
)


@torch.inference_mode(mode=False)
def from_module(model: nn.Module, *, img_size: int | None = None) -> LoadedModel:
    """Rebuild a network in memory through timm, in single precision, and load its weights.

    The network given is not changed, nor does anything that is bound to it take part: hooks,
    frozen parameters, wrappers and shared weights stay behind.

    Raises:
        InputError: If timm did not build it, or if timm's record of it no longer rebuilds it.
        UnsupportedModelError: If its family is not supported.
    """
    network = unwrap(model)
    own = _rebuild(network)
    _check_same_outputs(network, own)
    if img_size is not None:
        own = resize(own, img_size)
    record_size(own)
    config = ModelConfig.of(own)
    notes: tuple[str, ...] = ()
    if count := hooked(network):
        notes = (f"left out, hooks that were set on the model: {count}",)
    return LoadedModel(own, config.architecture, config, fingerprint(own, config), notes)


def _rebuild(model: nn.Module) -> nn.Module:
    """Check before the search that the network can be rebuilt for an export after it."""
    recorded: Any = model.pretrained_cfg
    args = get_model_args(model)
    state = plain_state(model)
    # timm does not record a linear layer that took the head's place.
    if (classes := classes_of(state, model)) is not None:
        args["num_classes"] = classes
    try:
        json.dumps(args)
        cfg = filter_pretrained_cfg(dict(recorded), remove_source=True)
        own: nn.Module = timm.create_model(recorded["architecture"], pretrained_cfg=cfg, **args)
    except LambdaNasError:
        raise
    # timm and torch have no error base in common.
    except Exception as error:
        raise _changed(model, " ".join(str(error).split())) from error
    if problem := misfit(own, state):
        raise _changed(model, problem)
    own.load_state_dict(state)
    return own.eval()


@torch.no_grad()
def _check_same_outputs(model: nn.Module, own: nn.Module) -> None:
    """Raise ``InputError`` if something else than weights was changed, such as an activation."""
    shape = get_model_input_config(own)["input_size"]
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    try:
        expected = copy_without_hooks(model)(image)
    except LambdaNasError:
        raise
    # Whatever the caller has changed can fail in any way.
    except Exception as error:
        size = " x ".join(map(str, shape))
        raise _changed(model, f"it fails on an image of {size}: {error}") from error
    if not isinstance(expected, Tensor):
        raise InputError(
            "has no logits as its output",
            parameter="model",
            value=type(model).__name__,
            advice="create it without features_only",
        )
    difference = (own(image) - expected).norm() / expected.norm()
    # Logits that are not finite have an error of their own.
    if difference > TOLERANCE:
        raise _changed(model, f"with the same weights, outputs differ by {difference:.1%}")


def _changed(model: nn.Module, problem: str) -> InputError:
    recorded: Any = model.pretrained_cfg
    return InputError(
        f"is not what timm builds from what it recorded of it ({problem})",
        parameter="model",
        value=recorded["architecture"],
        advice=ADVICE,
    )
