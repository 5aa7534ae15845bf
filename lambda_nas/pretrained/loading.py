"""Loads trained models by name, folder, hub ID or checkpoint file."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import (
    filter_pretrained_cfg,
    get_model_args,
    get_pretrained_cfg,
    is_model,
    parse_model_name,
    split_model_name_tag,
)
from torch import nn

from lambda_nas.errors import InputError, LambdaNasError
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import NOTHING, RemovalSet
from lambda_nas.pretrained.checkpoint_files import load_checkpoint
from lambda_nas.pretrained.entry_points import PRUNED_ARCHITECTURE
from lambda_nas.pretrained.fitting import image_size, record_size, resize

ORIGIN = {"tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"}


@dataclass(frozen=True)
class ModelConfig:
    """How timm builds a network, without its weights.

    Attributes:
        architecture: timm's name of the unpruned network.
        model_args: Arguments of its entry point, as JSON values.
        pretrained_cfg: timm's data settings and origin, without the location of the weights.
        removed: Layers that were already removed when the model was loaded.
        doubled: Those of them whose doubled residual was folded.
        merging: Token merging of the loaded model, if it merges.
    """

    architecture: str
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained_cfg: dict[str, Any] = field(default_factory=dict)
    removed: RemovalSet = NOTHING
    doubled: RemovalSet = NOTHING
    merging: Merging | None = None

    @classmethod
    def of(cls, model: nn.Module) -> "ModelConfig":
        """Read timm's record of a model that it built, pruned exports included."""
        args = get_model_args(model)
        recorded: Any = model.pretrained_cfg
        cfg = filter_pretrained_cfg(dict(recorded), remove_source=True)
        architecture = cfg.pop("architecture")
        if architecture != PRUNED_ARCHITECTURE:
            return cls(architecture, args, cfg)
        base, removed, doubled = args.pop("base"), args.pop("removed"), args.pop("doubled", ())
        merging = args.pop("merging", None)
        return cls(
            base,
            args,
            cfg,
            removed=RemovalSet.of(removed),
            doubled=RemovalSet.of(doubled),
            merging=Merging(*merging) if merging else None,
        )


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model in eval mode on the CPU.

    Attributes:
        model: The network.
        name: The user's name for the model.
        config: How timm builds it.
        fingerprint: Hash of architecture and weights, 16 hex digits.
        notes: Messages for the user.
    """

    model: nn.Module
    name: str
    config: ModelConfig
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the model is used on."""
        return image_size(self.model)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The messages, and the image size."""
        height, width = self.image_size
        return (*self.notes, f"images at {height} x {width}{_of_tests(self)}")


def with_label_names(loaded: LoadedModel, names: Sequence[str]) -> LoadedModel:
    """Return the model with a record of the class of each output, which its exports keep."""
    # timm leaves out the names of another number of classes.
    known = {"label_names": list(names), "num_classes": len(names)}
    recorded: Any = loaded.model.pretrained_cfg
    recorded.update(known)
    config = replace(loaded.config, pretrained_cfg=loaded.config.pretrained_cfg | known)
    return replace(loaded, config=config)


def load_model(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: Path | None = None,
    img_size: int | None = None,
) -> LoadedModel:
    """Load a trained model.

    Args:
        name: A timm name, ``local-dir:DIR`` or ``hf-hub:ID``; the last two include weights.
        pretrained: Load timm's weights for a timm name.
        checkpoint: A file of weights to use instead; its head sets the number of classes.
        img_size: Side of the square images to use the model on, if it isn't its own.

    Raises:
        InputError: If the model is unknown or its weights are missing or don't fit.
    """
    source, rest = parse_model_name(name)
    notes: tuple[str, ...] = ()
    if source == "local-dir":
        _check_folder(name, Path(rest), weights=checkpoint is None)
    elif not source:
        _check_name(name)
    if checkpoint is not None:
        build = partial(_create, name, pretrained=False)
        model, notes = load_checkpoint(build, name, checkpoint)
    elif pretrained or source:
        model = _create(name, pretrained=True)
    else:
        raise InputError(
            "it would have random weights",
            parameter="model",
            value=name,
            advice="give `pretrained`, `checkpoint` FILE or `model=local-dir:DIR`",
        )
    if img_size is not None:
        model = resize(model, img_size)
    record_size(model)
    config = ModelConfig.of(model)
    if checkpoint is not None:
        config = _of_unknown_origin(config)
    return LoadedModel(model.eval(), name, config, fingerprint(model, config), notes)


def _of_tests(loaded: LoadedModel) -> str:
    """Return the other size that timm recommends for tests, if there is one."""
    size = loaded.config.pretrained_cfg.get("test_input_size")
    if size is None or tuple(size[1:]) == loaded.image_size:
        return ""
    return f" (timm's own test size is {size[1]} x {size[2]})"


def fingerprint(model: nn.Module, config: ModelConfig) -> str:
    """Return a SHA-256 hash of architecture, image size and all weights, 16 hex digits."""
    digest = hashlib.sha256(f"{config.architecture}{config.removed}{config.doubled}".encode())
    if config.merging:
        digest.update(repr(config.merging).encode())
    known, size = get_pretrained_cfg(config.architecture), image_size(model)
    if known is None or known.input_size[1:] != size:
        digest.update(f"{size}".encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _of_unknown_origin(config: ModelConfig) -> ModelConfig:
    """Drop timm's origin and license of its own weights, which don't apply to a checkpoint."""
    known = {key: value for key, value in config.pretrained_cfg.items() if key not in ORIGIN}
    return replace(config, pretrained_cfg=known)


def _create(name: str, *, pretrained: bool, **args: Any) -> nn.Module:  # noqa: ANN401
    try:
        return timm.create_model(name, pretrained=pretrained, **args)
    except LambdaNasError:
        raise
    # timm, torch, safetensors and huggingface_hub have no error base in common.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem, advice = "its config.json and weights don't load", None
        if not pretrained:
            problem = "timm can't build it"
        elif not name.startswith("local-dir:"):
            problem = "download failed"
            advice = "without network, use `checkpoint` FILE or local-dir:DIR"
        raise InputError(
            f"{problem} ({reason})", parameter="model", value=name, advice=advice
        ) from error


def _check_name(name: str) -> None:
    architecture, tag = split_model_name_tag(name)
    if not is_model(architecture):
        if Path(name).is_dir():
            raise InputError(
                "this is a folder",
                parameter="model",
                value=name,
                advice=f"write local-dir:{name}",
            )
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise InputError("timm has no such model", parameter="model", value=name, advice=hint)
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_models(f"{architecture}.*", include_tags=True)
        raise InputError(
            f"timm has no weights tagged {tag}",
            parameter="model",
            value=name,
            allowed=f"one of {', '.join(tags)}",
        ) from error


def _check_folder(name: str, folder: Path, *, weights: bool) -> None:
    kinds = (".safetensors", ".bin", ".pth")
    if not folder.is_dir():
        problem = "there is no such folder"
    elif not (folder / "config.json").is_file():
        problem = "the folder has no config.json, so timm didn't write it"
    elif weights and not any(file.suffix in kinds for file in folder.iterdir()):
        problem = "the folder has no model.safetensors"
    else:
        return
    raise InputError(problem, parameter="model", value=name)


def build_for_pricing(name: str) -> nn.Module:
    """Return a model to time: a folder's network, or a timm name's with random weights.

    Raises:
        InputError: For the same reasons as ``load_model``.
    """
    source, _ = parse_model_name(name)
    if source:
        return load_model(name).model
    _check_name(name)
    return _create(name, pretrained=False)
