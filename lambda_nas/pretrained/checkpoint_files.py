"""Loads files of weights into timm models: whoever wrote them, without running what is in them."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models import clean_state_dict, load_state_dict
from torch import Tensor, nn

from lambda_nas.errors import InputError
from lambda_nas.pretrained.fitting import convert, misfit, named

_LISTS = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
NUMPY_NUMBERS: list[Any] = [
    *(_SCALAR, _ARRAY, np.ndarray, np.dtype),
    # Their names before numpy 2.
    *((_SCALAR, "numpy.core.multiarray.scalar"), (_ARRAY, "numpy.core.multiarray._reconstruct")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "u4", "u8", "?")),
]
"""What metrics beside the weights are made with: it makes numbers of bytes, and nothing else."""


def load_checkpoint(
    build: Callable[..., nn.Module], name: str, file: Path
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the model that a file's weights are of, and load them.

    The weights say how many classes it has, which image size it was trained at and, between the
    class token and the average, how it pools.

    Args:
        build: Builds the named model with the keyword arguments given.
        name: Of the model.
        file: Of weights: ``.safetensors``, or what ``torch.save`` writes.

    Returns:
        The model, and messages for the user.

    Raises:
        InputError: If the file can't be read or its weights don't fit the model.
    """
    state = _read(file)
    model = build()
    state, notes = _without_prefix(state, model, file)
    args = {**_image_size(state, model), **_pooling(state, model)}
    if args:
        model = build(**args)
    converted = convert(state, model)
    classes = _classes(converted, model)
    if classes not in (None, model.num_classes):
        model = build(**args, num_classes=classes)
    if problem := misfit(model, converted):
        raise InputError(f"doesn't fit {name}: {problem}", parameter="checkpoint", value=file)
    model.load_state_dict(converted)
    if "img_size" in args:
        size = args["img_size"]
        notes += (f"positions in {file.name} are of images of {size} x {size}",)
    resampled = {
        key
        for key in state.keys() & converted.keys()
        if "pos" in key and state[key].shape != converted[key].shape
    }
    if resampled:
        notes += (f"resampled for {name}, weights of {file.name}: {named(resampled)}",)
    return model, notes


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError("there is no such file", parameter="checkpoint", value=file)
    # torch before 2.6 doesn't know an object by another name.
    known = torch.serialization.safe_globals(NUMPY_NUMBERS) if _LISTS else nullcontext()
    try:
        with known:
            found: dict[str, Any] = load_state_dict(str(file), weights_only=True)
    # Unpickling, zip files and safetensors have no error base in common.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "weights_only" in reason:
            reason, advice = _what_is_blocked(file)
        else:
            advice = None
        raise InputError(
            f"can't be read ({reason})", parameter="checkpoint", value=file, advice=advice
        ) from error
    return _tensors(found, file)


def _what_is_blocked(file: Path) -> tuple[str, str | None]:
    try:
        objects = set(_LISTS(str(file))) if _LISTS else {"see torch.load"}
    except ValueError:
        return "it is damaged, or torch.save did not write it", None
    return (
        f"it holds objects whose reading could run any code: {named(objects)}",
        "save the weights alone, with torch.save(model.state_dict(), FILE)",
    )


def _tensors(found: dict[str, Any], file: Path) -> dict[str, Tensor]:
    """Return the tensors by name, at the top or in the one entry that holds nothing else."""
    tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    inside = {
        key: value
        for key, value in found.items()
        if isinstance(value, dict) and value and all(isinstance(v, Tensor) for v in value.values())
    }
    if len(inside) > 1:
        raise InputError(
            f"holds several sets of weights ({named(set(inside))})",
            parameter="checkpoint",
            value=file,
            advice="save the one to use alone",
        )
    if not inside:
        raise InputError(
            "holds no state dict",
            parameter="checkpoint",
            value=file,
            allowed="tensors by name, at the top or under 'state_dict', 'model' or the like",
        )
    return clean_state_dict(next(iter(inside.values())))


def _without_prefix(
    state: dict[str, Tensor], model: nn.Module, file: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights of the attribute that held the network when it was saved."""
    own, hits = model.state_dict().keys(), Counter[str]()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                hits["".join(f"{part}." for part in parts[:start])] += 1
    most = max(hits.values(), default=0)
    prefixes = [prefix for prefix, count in hits.items() if count == most]
    if not prefixes or "" in prefixes:
        return state, ()
    if len(prefixes) > 1:
        raise InputError(
            f"holds several networks ({named(set(prefixes))})",
            parameter="checkpoint",
            value=file,
            advice="save the one to use alone",
        )
    inside = {key.removeprefix(prefixes[0]): key for key in state if key.startswith(prefixes[0])}
    others = state.keys() - set(inside.values())
    note = (f"left out, weights of {file.name} that are not the model's: {named(others)}",)
    return {name: state[key] for name, key in inside.items()}, note if others else ()


def _image_size(state: dict[str, Tensor], model: nn.Module) -> dict[str, int]:
    """Return the size that the positions of a square image are of, if the model's is another."""
    given, own = state.get("pos_embed"), getattr(model, "pos_embed", None)
    patches: Any = getattr(model, "patch_embed", None)
    grid, patch = (getattr(patches, name, None) for name in ("grid_size", "patch_size"))
    if (
        given is None
        or own is None
        or grid is None
        or patch is None
        or not given.ndim == own.ndim == 3
    ):
        return {}
    tokens = given.shape[1] - (own.shape[1] - grid[0] * grid[1])
    side = math.isqrt(max(tokens, 0))
    if given.shape[1] == own.shape[1] or side * side != tokens:
        return {}
    return {"img_size": side * patch[0]}


def _pooling(state: dict[str, Tensor], model: nn.Module) -> dict[str, str]:
    """Return how the model pools, where the norm before the head tells it."""
    averaged, own = "fc_norm.weight" in state, "fc_norm.weight" in model.state_dict()
    if averaged == own or not hasattr(model, "fc_norm"):
        return {}
    return {"global_pool": "avg" if averaged else "token"}


def _classes(state: dict[str, Tensor], model: nn.Module) -> int | None:
    recorded: Any = model.pretrained_cfg
    names = recorded.get("classifier") or ()
    for name in (names,) if isinstance(names, str) else names:
        if (head := state.get(f"{name}.weight")) is not None:
            return len(head)
    return None
