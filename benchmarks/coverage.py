"""Check the removal of attention in every architecture that timm names.

    python benchmarks/coverage.py --out lambda_nas/pretrained/coverage.csv

Each architecture is built with random weights for the smallest images that it takes. Each layer is
removed alone, and the result is compared with the same model under a hook that replaces the
branch's output by zeros. An architecture whose weights and their copy don't fit in ``--gigabytes``
is built, but not run. If it has more than ``ALL_LAYERS`` parameters, only the first and the last
layer of each kind are compared. Run the script again to resume after the last line of the table.
"""

import argparse
import csv
import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timm
import torch
from rich.progress import track
from timm.models import model_entrypoint
from torch import Tensor, nn

from lambda_nas.models.branches import Branch, find_branches
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import count_params, remove_attention
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE, PRUNED_ARCHITECTURE

SIZES = (32, 56, 64, 96, 112, 128, 160, 192, 224, 256, 288, 384, 448, 512, 1024)
ALL_LAYERS = 30_000_000
OURS = (PRUNED_ARCHITECTURE, DIGITS_ARCHITECTURE)
# Blocks that normalize what attention gives: a zero before the norm would leak its bias. Written
# down once more, so that a mistake in the package's own table shows.
POST_NORMS = {
    "ResPostBlock": "norm1",
    "ResPostRelPosBlock": "norm1",
    "EvaBlockPostNorm": "norm1",
    "SwinTransformerV2Block": "norm1",
    "SwinTransformerV2CrBlock": "norm1",
    "Gemma4Block": "norm2",
}


@dataclass(frozen=True)
class Row:
    """The result for one architecture.

    ``layers`` counts its residual self-attention layers, ``removable`` those that can be removed,
    ``checked`` those compared. ``obstacle`` says why the others can't be removed, ``failure`` why
    some were not compared, or what differed.
    """

    architecture: str
    family: str
    layers: int
    removable: int
    checked: int
    params: int
    input_size: int
    obstacle: str
    failure: str


def smallest(name: str, shape: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """Return the smallest image size that an architecture runs at, and arguments that build it.

    ``shape`` holds arguments of the architecture that make it small.
    """
    with torch.device("meta"), undrawn():
        own = timm.create_model(name).pretrained_cfg["input_size"][1:]
    sizes = [*(size for size in SIZES if size < max(own)), max(own)]
    for size in sizes:
        for more in ({"img_size": size}, {}):
            kwargs = {**(shape or {}), **more}
            try:
                with torch.device("meta"), undrawn():
                    model = timm.create_model(name, **kwargs).eval()
                    model(torch.empty(1, *_channels(model), size, size))
            except Exception:
                continue
            return size, kwargs
    raise RuntimeError("runs at no size that was tried")


def _channels(model: nn.Module) -> tuple[int]:
    cfg: Any = model.pretrained_cfg
    return (cfg["input_size"][0],)


@contextmanager
def undrawn() -> Iterator[None]:
    """Leave weight matrices zero: drawing them takes longer than all the rest."""

    def unless_matrix(name: str) -> Any:  # noqa: ANN401
        own = getattr(torch.Tensor, name)
        return lambda self, *args, **kwargs: (
            own(self, *args, **kwargs) if _is_vector(self) else self.zero_()
        )

    with ExitStack() as stack:
        for name in ("uniform_", "normal_", "erfinv_"):
            stack.enter_context(patch.object(torch.Tensor, name, unless_matrix(name)))
        yield


def _is_vector(tensor: Tensor) -> bool:
    return tensor.numel() <= max(tensor.shape, default=1)


def create(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """Build an architecture with random weights, in eval mode."""
    with undrawn():
        return randomise(timm.create_model(name, **kwargs))


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Make every branch count: many families start with scales or heads of nearly zero."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1 << 20, generator=generator)
    for parameter in model.parameters():
        if _is_vector(parameter):
            parameter.add_(torch.empty_like(parameter).uniform_(0.1, 0.5, generator=generator))
        else:
            times = -(-parameter.numel() // len(noise))
            values = noise.repeat(times)[: parameter.numel()].view_as(parameter)
            parameter.copy_(values * parameter[0].numel() ** -0.5)
    return model.eval()


@contextmanager
def zeroed(model: nn.Module, branch: Branch) -> Iterator[None]:
    """Replace what a branch adds by zeros, by a forward hook on timm's own module."""
    block = model.get_submodule(branch.path)
    last = POST_NORMS.get(type(block).__name__, branch.attention)

    def zeros(_module: nn.Module, _args: object, output: Any) -> Any:  # noqa: ANN401
        if isinstance(output, tuple):
            return torch.zeros_like(output[0]), *output[1:]
        return torch.zeros_like(output)

    hook = block.get_submodule(last).register_forward_hook(zeros)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def check_layer(model: nn.Module, layer: int, images: Tensor, unpruned: Tensor) -> None:
    """Compare the model without a layer with the hooked one.

    ``unpruned`` is the model's own output, ``[images, classes]``.

    Raises:
        RuntimeError: If they differ, if removal changes nothing, or if parameters are left.
    """
    branch = find_branches(model)[layer]
    with zeroed(model, branch):
        expected = model(images)
    surgery = remove_attention(model, RemovalSet.of([layer]))
    found = surgery.model(images)
    scale = expected.abs().max().item()
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * scale):
        raise RuntimeError(f"layer {layer} removed differs from layer {layer} zeroed")
    if torch.equal(found, unpruned):
        raise RuntimeError(f"layer {layer} removed changes nothing")
    left = {name for name, _ in surgery.model.named_parameters()}
    if not _own_parameters(model, branch).isdisjoint(left):
        raise RuntimeError(f"layer {layer} removed leaves parameters behind")


def _own_parameters(model: nn.Module, branch: Branch) -> set[str]:
    """Return the names of the attention's parameters that no other part of the model shares."""
    prefix = f"{branch.path}.{branch.attention}."
    every = list(model.named_parameters(remove_duplicate=False))
    shared = {id(parameter) for name, parameter in every if not name.startswith(prefix)}
    own = {name for name, p in every if name.startswith(prefix) and id(p) not in shared}
    if not own:
        raise RuntimeError(f"{branch.path} has no parameters of its own")
    return own


def some_layers(model: nn.Module, layers: Sequence[int]) -> list[int]:
    """Return the first and the last layer of each kind."""
    branches = find_branches(model)
    kinds: dict[object, list[int]] = {}
    for layer in layers:
        block = model.get_submodule(branches[layer].path)
        kinds.setdefault((type(block), branches[layer].attention), []).append(layer)
    return sorted({layer for same in kinds.values() for layer in (same[0], same[-1])})


def examine(name: str, gigabytes: float) -> Row:
    """Find and check the attention layers of an architecture."""
    family = model_entrypoint(name).__module__.rpartition(".")[2]
    with torch.device("meta"), undrawn():
        branches = find_branches(model := timm.create_model(name))
        removable = [index for index, branch in enumerate(branches) if branch.obstacle is None]
        params = count_params(model)
    obstacles = "; ".join(dict.fromkeys(branch.obstacle or "" for branch in branches)).strip("; ")
    row = Row(name, family, len(branches), len(removable), 0, params, 0, obstacles, "")
    if not removable:
        return row
    if 2 * 4 * params > gigabytes * 1e9:
        return replace(row, failure=f"its weights, twice, exceed {gigabytes:g} GB")
    size, checked, failure = 0, 0, ""
    try:
        size, kwargs = smallest(name)
        model = create(name, kwargs)
        images = torch.rand(1, *_channels(model), size, size)
        with torch.no_grad():
            unpruned = model(images)
        for layer in removable if params <= ALL_LAYERS else some_layers(model, removable):
            check_layer(model, layer, images, unpruned)
            checked += 1
    except Exception as error:
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
    return replace(row, checked=checked, input_size=size, failure=failure)


def main() -> None:
    """Check all architectures and print how many hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", default="*", help="timm's pattern of architectures")
    parser.add_argument("--gigabytes", type=float, default=8.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    # So few tokens are no work for two threads, which would wait for each other.
    torch.set_num_threads(1)
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {row["architecture"] for row in csv.DictReader(file)}
    names = [n for n in timm.list_models(options.names) if n not in done and n not in OURS]
    with options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        if not done:
            writer.writeheader()
        for name in track(names, "Checking architectures"):
            writer.writerow(asdict(examine(name, options.gigabytes)))
            file.flush()
            gc.collect()


if __name__ == "__main__":
    main()
