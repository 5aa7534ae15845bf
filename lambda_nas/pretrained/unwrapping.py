"""Finds the timm model in what a caller hands over, and copies it without what is bound to it."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from timm.utils.model import unwrap_model
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from lambda_nas.errors import InputError

QUANTIZED = ("torch.ao", "torchao", "bitsandbytes")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPILED = "_orig_mod"
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def unwrap(model: object) -> nn.Module:
    """Return the timm model inside of wrappers that add nothing to it.

    Such are ``torch.compile``, ``DataParallel``, ``AveragedModel``, timm's EMA models and Fabric.

    Raises:
        InputError: If there is no timm model, or its weights are not plain tensors; says what to
            hand over instead.
    """
    if not isinstance(model, nn.Module):
        # timm's first EMA model is none.
        model = unwrap_model(model)
    if not isinstance(model, nn.Module):
        raise _refusal(model, "is no network", "give one that timm built, or the name of a model")
    # Adapters hand on every attribute of the model inside them, so they look like it.
    if any(_package(module) == "peft" for module in model.modules()):
        raise _refusal(
            model,
            "holds adapters of PEFT beside its weights",
            "hand over what model.merge_and_unload() returns",
        )
    inside = unwrap_model(model)
    if {id(value) for value in model.parameters()} != {id(value) for value in inside.parameters()}:
        inside = model
    if not isinstance(inside, nn.Module) or not getattr(inside, "pretrained_cfg", None):
        raise _not_of_timm(model)
    _check_weights(inside)
    return inside


def copy_without_hooks(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode on the CPU, in single precision, that no hook of the caller sees.

    Its weights may share memory with the model's. Tensors that were set on its modules are shared,
    for PyTorch does not copy those that carry a gradient.

    Raises:
        InputError: If something else was set on it that can't be copied.
    """
    shared: dict[int, Any] = {}
    for module in model.modules():
        shared |= {id(value): value for value in vars(module).values() if isinstance(value, Tensor)}
    for weight in model.parameters():
        shared[id(weight)] = nn.Parameter(_in_single(weight), requires_grad=False)
    shared |= {id(buffer): _in_single(buffer) for buffer in model.buffers()}
    # Not copied and cleared afterwards: what a hook is bound to may not be copied at all.
    shared |= {id(hooks): OrderedDict() for hooks in _hooks(model)}
    try:
        own = copy.deepcopy(model, shared)
    # What was set on it can fail in any way.
    except Exception as error:
        raise _refusal(
            model,
            f"can't be copied ({' '.join(str(error).split())})",
            "remove the attributes that were set on it after timm built it",
        ) from error
    for path, module in list(own.named_modules()):
        if hasattr(module, COMPILED):
            parent, _, name = path.rpartition(".")
            setattr(own.get_submodule(parent), name, getattr(module, COMPILED))
    return own.eval()


def hooked(model: nn.Module) -> int:
    """Return how many hooks the caller has set on the model."""
    return sum(map(len, _hooks(model)))


def lost_in_copy(model: nn.Module) -> tuple[str, ...]:
    """Return what makes a network as it was given faster or slower than its copy."""
    other = {str(weight.dtype) for weight in model.parameters() if weight.dtype != torch.float32}
    compiled = any(hasattr(module, COMPILED) for module in model.modules())
    return (*sorted(other), *(["torch.compile"] if compiled else []))


def _hooks(model: nn.Module) -> list[dict[int, Any]]:
    return [getattr(module, name) for module in model.modules() for name in HOOKS]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights by the names that timm gives them, in single precision on the CPU."""
    return {
        key.replace(f"{COMPILED}.", ""): _in_single(value)
        for key, value in model.state_dict().items()
        # Quantized layers keep others than tensors, too.
        if isinstance(value, Tensor)
    }


def _in_single(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    # Images are in single precision.
    return value.float() if value.is_floating_point() else value


def _check_weights(model: nn.Module) -> None:
    for path, module in model.named_modules():
        where = f" ({path})" if path else ""
        if type(module).__module__.startswith(QUANTIZED):
            raise _refusal(model, f"is quantized{where}", "hand over the model it was made from")
        if parametrize.is_parametrized(module):
            raise _refusal(
                model,
                f"computes weights from others{where}",
                "call torch.nn.utils.parametrize.remove_parametrizations on them first",
            )
        if any(isinstance(h, prune.BasePruningMethod) for h in module._forward_pre_hooks.values()):
            raise _refusal(
                model, f"masks weights{where}", "call torch.nn.utils.prune.remove on them first"
            )
    for key, weight in model.named_parameters():
        if weight.is_meta:
            raise _refusal(model, f"has no weights ({key} is on the meta device)", "load them")
        if weight.dtype not in FLOATS or type(weight.data) is not Tensor:
            kind = weight.dtype if type(weight.data) is Tensor else type(weight.data).__name__
            raise _refusal(
                model,
                f"has weights that are not plain numbers ({key} is {kind})",
                "hand over the model before it was quantized or sharded",
            )


def _not_of_timm(model: nn.Module) -> InputError:
    inside = [path for path, part in model.named_modules() if getattr(part, "pretrained_cfg", None)]
    outermost = [path for path in inside if not path.startswith(tuple(f"{p}." for p in inside))]
    if not outermost:
        return _refusal(
            model,
            "was not built by timm, so it can't be rebuilt for an export",
            "create the model with timm.create_model and load your weights into it",
        )
    return _refusal(
        model,
        "was not built by timm, and an export would lose what it adds to the timm model inside it",
        f"hand over that one, {' or '.join(f'model.{path}' for path in outermost)}",
    )


def _package(module: nn.Module) -> str:
    return type(module).__module__.partition(".")[0]


def _refusal(model: object, problem: str, advice: str) -> InputError:
    return InputError(problem, parameter="model", value=type(model).__name__, advice=advice)
