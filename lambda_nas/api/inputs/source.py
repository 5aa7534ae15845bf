"""The unpruned model and its images: found first, and read when all else is checked."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lambda_nas.data.class_map import read_class_map
from lambda_nas.data.selection import ImageData, ImageLimits, Selection, select_images
from lambda_nas.errors import InputError
from lambda_nas.execution.progress import READING, Advance, in_percent
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.models.surgery import removable_layers
from lambda_nas.pretrained.digits import digits_model, digits_selection
from lambda_nas.pretrained.from_module import from_module
from lambda_nas.pretrained.loading import LoadedModel, load_model, with_label_names

Stage = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True, eq=False)
class Source:
    """The unpruned model and the images it is judged on."""

    model: LoadedModel
    data: ImageData
    data_name: str

    @property
    def has_repair(self) -> bool:
        """Whether there is a closed-form repair for the model."""
        return is_blockwise(self.model.model)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must be told before the search."""
        notes = (*self.model.all_notes, *self.data.notes)
        if self.has_repair:
            return notes
        return (
            *notes,
            f"{self.no_repair}, removal sets are judged by plain removal and, with training "
            "images, by dilution",
        )

    @property
    def no_repair(self) -> str:
        """Why there is no closed-form repair, if there is none."""
        name = type(self.model.model).__name__
        return f"{name} is not a plain row of blocks: no closed-form repair"


@dataclass(frozen=True, eq=False)
class FoundSource:
    """The unpruned model, and its images before they are decoded."""

    model: LoadedModel
    images: Selection
    data_name: str

    def read(self, stage: Stage) -> Source:
        """Decode the images."""
        with stage(READING, 100) as advance:
            images = self.images.decode(in_percent(advance))
        return Source(self.model, images, self.data_name)


def available_device() -> str:
    """Return where a model runs that is not searched: on the GPU, if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_source(
    *,
    model: str | nn.Module | None,
    data: str | Path | None,
    checkpoint: str | Path | None = None,
    pretrained: bool | None = None,
    img_size: int | None = None,
    class_map: str | Path | None = None,
    label_names: Sequence[str] | None = None,
    seed: int = 0,
    limits: ImageLimits | None = None,
) -> FoundSource:
    """Load a model and find its images, or the built-in default when neither is given.

    A model that is a network already is taken as it is, in a copy. timm's weights are loaded for
    one of its names if ``pretrained`` says so, by default unless there is a ``checkpoint``. Its
    record of the class of each output is what ``class_map`` says, or else ``label_names``.

    Raises:
        InputError: If only one of the two is given, something is given that goes with them, or
            either can't be used.
    """
    if model is None and data is None:
        _refuse_alone(
            checkpoint=checkpoint, pretrained=pretrained, img_size=img_size, class_map=class_map
        )
        return FoundSource(digits_model(), digits_selection(), "digits")
    if model is None or data is None:
        missing = "model" if model is None else "data"
        raise InputError(
            f"`{missing}` is missing", advice="give both `model` and `data`, or neither"
        )
    if isinstance(model, str):
        loaded = load_model(
            model,
            pretrained=checkpoint is None if pretrained is None else pretrained,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            img_size=img_size,
        )
    else:
        loaded = from_module(model, img_size=img_size)
    removable_layers(loaded.model)
    if label_names is not None and len(label_names) == cast(Any, loaded.model).num_classes:
        loaded = with_label_names(loaded, label_names)
    images = select_images(
        Path(data),
        loaded.model,
        class_map=None if class_map is None else Path(class_map),
        seed=seed,
        limits=limits,
    )
    if class_map is not None:
        loaded = with_label_names(loaded, read_class_map(Path(class_map)))
    return FoundSource(loaded, images, str(data))


def _refuse_alone(
    *,
    checkpoint: str | Path | None,
    pretrained: bool | None,
    img_size: int | None,
    class_map: str | Path | None,
) -> None:
    """Refuse what says nothing about the built-in default and would silently be left out."""
    given = [
        *([f"`checkpoint={checkpoint}`"] if checkpoint is not None else []),
        *(["`pretrained`"] if pretrained else []),
        *([f"`img_size={img_size}`"] if img_size is not None else []),
        *([f"`class_map={class_map}`"] if class_map is not None else []),
    ]
    if given:
        raise InputError(" and ".join(given), advice="give `model` and `data` with it")


def default_study_name(source: FoundSource) -> str:
    """Name a study after its model and data, so that the same command finds it again."""
    model = re.split(r"[:/\\]", source.model.name.rstrip("/\\"))[-1]
    name = f"{model}-{Path(source.data_name).name}"
    # Folders may be called what a study may not.
    return "".join(c if c.isprintable() else "-" for c in name).strip("- ")
