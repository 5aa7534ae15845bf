"""Loads files of weights into timm models: whoever wrote them, without running what is in them."""

import math
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models import clean_state_dict, load_state_dict
from torch import Tensor, nn

from lambda_nas.data.files import name_some
from lambda_nas.errors import InputError
from lambda_nas.pretrained.fitting import classes_of, convert, misfit

_BLOCKED = re.compile(r"Unsupported (?:global|class)[: ]+(?:GLOBAL )?(\S+)")
_UNREAD = re.compile(r"Unpickler error:\s*(.+)")
# torch before 2.6 doesn't know an object by another name.
_TAKES_NAMES = hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
NUMPY_NUMBERS: list[Any] = [
    *(_SCALAR, _ARRAY, np.ndarray, np.dtype),
    # numpy before 2 writes these names.
    *((_SCALAR, "numpy.core.multiarray.scalar"), (_ARRAY, "numpy.core.multiarray._reconstruct")),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "u4", "u8", "?")),
]
"""What numpy's numbers and arrays beside the weights are read with; it runs nothing else."""


def load_checkpoint(
    build: Callable[..., nn.Module], name: str, file: Path
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the model that a file's weights belong to, and load them.

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
    args = {**_size_args(state, model), **_pooling_args(state, model)}
    if args:
        model = build(**args)
    converted = convert(state, model)
    classes = classes_of(converted, model)
    if classes not in (None, model.num_classes):
        model = build(**args, num_classes=classes)
    if problem := misfit(model, converted):
        raise InputError(f"doesn't fit {name}: {problem}", parameter="checkpoint", value=file)
    model.load_state_dict(converted)
    if "img_size" in args:
        size = args["img_size"]
        notes += (f"the weights in {file.name} are for images of {size} x {size}",)
    resampled = {
        key
        for key in state.keys() & converted.keys()
        if "pos" in key and state[key].shape != converted[key].shape
    }
    if resampled:
        notes += (f"resampled for {name}, weights of {file.name}: {name_some(sorted(resampled))}",)
    return model, notes


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError("there is no such file", parameter="checkpoint", value=file)
    known = torch.serialization.safe_globals(NUMPY_NUMBERS) if _TAKES_NAMES else nullcontext()
    try:
        with known:
            found: dict[str, Any] = load_state_dict(str(file), weights_only=True)
    # Unpickling, zip files and safetensors have no error base in common.
    except Exception as error:
        raise _unreadable(file, error) from error
    return _tensors(found, file)


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    advice = None
    # timm's own error names no object of an older file, torch's does.
    details = str(error.__cause__ or error)
    if unread := _UNREAD.search(details):
        advice = "save the weights alone, with torch.save(model.state_dict(), FILE)"
        reason = f"it is damaged, or torch.save wrote it in another way: {unread[1]}"
        if blocked := _BLOCKED.search(details):
            reason = f"it holds an object whose reading could run any code: {blocked[1]}"
    return InputError(
        f"can't be read ({reason})", parameter="checkpoint", value=file, advice=advice
    )


def _tensors(found: dict[str, Any], file: Path) -> dict[str, Tensor]:
    """Return the tensors by name, at the top or in the one entry that holds nothing else."""
    tensors = _only_tensors(found)
    inside = {
        key: value
        for key, value in found.items()
        if isinstance(value, dict) and 0 < len(value) == len(_only_tensors(value))
    }
    # A metric beside the weights may be a tensor, too.
    if len(tensors) > max(map(len, inside.values()), default=0):
        return tensors
    if len(inside) > 1:
        raise InputError(
            f"holds several sets of weights ({name_some(sorted(inside))})",
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


def _only_tensors(entries: dict[str, Any]) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in entries.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


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
    # A name or two may be in another network, too.
    prefixes = [prefix for prefix, count in hits.items() if count > len(own) / 2]
    if not prefixes or "" in prefixes:
        return state, ()
    if len(prefixes) > 1:
        raise InputError(
            f"holds several networks ({name_some(sorted(prefixes))})",
            parameter="checkpoint",
            value=file,
            advice="save the one to use alone",
        )
    inside = {key.removeprefix(prefixes[0]): key for key in state if key.startswith(prefixes[0])}
    others = state.keys() - set(inside.values())
    note = (
        f"left out, weights of {file.name} that are not the model's: {name_some(sorted(others))}",
    )
    return {name: state[key] for name, key in inside.items()}, note if others else ()


def _size_args(state: dict[str, Tensor], model: nn.Module) -> dict[str, int]:
    """Return the size of the square images of the positions, if the model's is another."""
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


def _pooling_args(state: dict[str, Tensor], model: nn.Module) -> dict[str, str]:
    """Return how the model pools, where the norm before the head tells it."""
    averaged, own = "fc_norm.weight" in state, "fc_norm.weight" in model.state_dict()
    if averaged == own or not hasattr(model, "fc_norm"):
        return {}
    return {"global_pool": "avg" if averaged else "token"}
