"""Fits weights to networks: timm converts names and positions, and what is left over is told."""

import inspect
import sys
from typing import Any

import timm
import torch
from timm.models import (
    filter_pretrained_cfg,
    get_model_args,
    get_model_input_config,
    model_entrypoint,
)
from torch import Tensor, nn

from lambda_nas.data.files import name_some
from lambda_nas.errors import InputError, LambdaNasError


def misfit(model: nn.Module, state: dict[str, Tensor]) -> str:
    """Say which weights don't fit the model; nothing if all do."""
    own = model.state_dict()
    problems = {
        "missing": own.keys() - state.keys(),
        "unexpected": state.keys() - own.keys(),
        "of another shape": {
            key for key in own.keys() & state.keys() if own[key].shape != state[key].shape
        },
    }
    return "; ".join(
        f"{len(keys)} {kind} ({name_some(sorted(keys))})" for kind, keys in problems.items() if keys
    )


def classes_of(state: dict[str, Tensor], model: nn.Module) -> int | None:
    """Return how many classes the weights of the model's head are for, ``None`` without a head."""
    recorded: Any = model.pretrained_cfg
    names = recorded.get("classifier") or ()
    for name in (names,) if isinstance(names, str) else names:
        if (head := state.get(f"{name}.weight")) is not None:
            return len(head)
    return None


def convert(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the state with the names and position embeddings of the model, as timm converts it.

    What timm can't convert is returned as it is.
    """
    recorded: Any = model.pretrained_cfg
    architecture = get_model_args(model).get("base", recorded["architecture"])
    module = sys.modules[model_entrypoint(architecture).__module__]
    # timm's models with other names in older files keep this function beside them.
    convert_with = getattr(module, "checkpoint_filter_fn", None)
    if convert_with is None or not misfit(model, state):
        return state
    # DeiT III had a layer scale under another name.
    scales = "adapt_layer_scale" in inspect.signature(convert_with).parameters
    try:
        converted: dict[str, Tensor] = convert_with(
            dict(state), model, **({"adapt_layer_scale": True} if scales else {})
        )
    # It takes for granted that the weights are of this architecture; what doesn't fit is told.
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return state
    return converted


def image_size(model: nn.Module) -> tuple[int, int]:
    """Return height and width of the images that a model was built for."""
    _, height, width = get_model_input_config(model)["input_size"]
    return height, width


def record_size(model: nn.Module) -> None:
    """Have timm's data settings name the size that the network was built for.

    For networks that take any size, timm itself reads and exports the size of the first weights.
    """
    recorded: Any = model.pretrained_cfg
    current = get_model_input_config(model)["input_size"]
    if list(recorded.get("input_size", ())) != list(current):
        recorded["input_size"] = current


def resize(model: nn.Module, img_size: int) -> nn.Module:
    """Return the model for images of another size, positions resampled by timm.

    Raises:
        InputError: If the architecture or its weights can't take that size.
    """
    if img_size < 1:
        raise InputError("must be at least 1", parameter="img_size", value=img_size)
    current, size = get_model_input_config(model), image_size(model)
    if size == (img_size, img_size):
        return model
    recorded: Any = model.pretrained_cfg
    args, channels = get_model_args(model), current["input_size"][0]
    cfg = filter_pretrained_cfg(dict(recorded), remove_source=True)
    cfg["input_size"] = (channels, img_size, img_size)
    if current["fixed_input_size"] or "img_size" in args:
        args["img_size"] = (img_size, img_size)
    try:
        resized = timm.create_model(recorded["architecture"], pretrained_cfg=cfg, **args).eval()
        state = convert(model.state_dict(), resized)
        if not (problem := misfit(resized, state)):
            resized.load_state_dict(state)
            with torch.no_grad():
                resized(torch.zeros(1, channels, img_size, img_size))
            return resized
    except LambdaNasError:
        raise
    # Families check their sizes in many ways.
    except Exception as error:
        problem = " ".join(str(error).split())
    raise InputError(
        f"{type(model).__name__} can't take images of this size ({problem})",
        parameter="img_size",
        value=img_size,
        advice=f"it was built for {size[0]} x {size[1]}",
    )
