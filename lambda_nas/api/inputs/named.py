"""The architecture that a command is about, and the model and images of its study."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lambda_nas.api.inputs.source import FoundSource, find_source
from lambda_nas.api.study import Study
from lambda_nas.data.selection import ImageLimits
from lambda_nas.errors import InputError, StudyMismatchError
from lambda_nas.exports.front_trial import model_config
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import NOTHING, Layers, RemovalSet
from lambda_nas.models.surgery import check_removal, remove_attention
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.records.selection import choose
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial


@dataclass(frozen=True)
class ArchitectureChoice:
    """What a person chooses an architecture by: layers, or what a trial of the front must be.

    Attributes:
        remove: The layers to remove.
        trial: Number of a trial.
        max_drop: The fraction of top-1 that may be lost.
        min_speedup: The speed-up that is needed.
    """

    remove: RemovalSet | None
    trial: int | None
    max_drop: float | None
    min_speedup: float | None

    @classmethod
    def of(
        cls,
        *,
        remove: Layers | None,
        trial: int | None,
        max_drop: float | None,
        min_speedup: float | None,
    ) -> "ArchitectureChoice":
        """Read what was given.

        Raises:
            InputError: If ``remove`` is no list of layers, or something is given beside it.
        """
        criteria = {"trial": trial, "max_drop": max_drop, "min_speedup": min_speedup}
        others = [f"`{name}`" for name, value in criteria.items() if value is not None]
        if remove is not None and others:
            raise InputError(f"give either `remove` or {' and '.join(others)}")
        named = None if remove is None else RemovalSet.parse(remove)
        return cls(named, trial, max_drop, min_speedup)

    def find(self, study: Study | None) -> ParetoTrial | Architecture:
        """Return the member of the front; or the architecture, if the layers named are none's.

        Raises:
            InputError: If the trial is not on the front, or neither layers nor a study are given.
            InfeasibleError: If no trial of the front qualifies; names the nearest.
        """
        if self.remove is not None:
            wanted = Architecture(self.remove)
            front = study.record.front if study else ()
            return next((each for each in front if each.architecture == wanted), wanted)
        if study is None:
            raise InputError(
                "is missing",
                parameter="study",
                advice="name one, or give `remove` with `model` and `data`",
            )
        return choose(
            study.record.info,
            study.record.front,
            trial=self.trial,
            max_drop=self.max_drop,
            min_speedup=self.min_speedup,
        )


def remove_named(model: nn.Module, removal: RemovalSet) -> nn.Module:
    """Return a copy of a model without the layers that a person named.

    Raises:
        LayerIndexError: If a layer does not exist, can't be removed, or is removed already.
    """
    check_removal(model, removal, parameter="remove")
    return remove_attention(model, removal).model


def find_study_source(
    info: StudyInfo | None,
    *,
    model: nn.Module | str | None,
    data: str | Path | None,
    checkpoint: str | Path | None,
    pretrained: bool | None,
    img_size: int | None = None,
    class_map: str | Path | None,
    limits: ImageLimits | None = None,
    remove: RemovalSet = NOTHING,
) -> FoundSource:
    """Load the study's model and find its images, or those given in their place or without a study.

    Raises:
        InputError: If they can't be used.
        StudyMismatchError: If the model is not the one that was searched.
        LayerIndexError: If a layer of ``remove`` can't be removed.
    """
    given = model is not None or data is not None
    if info and (given or info.model != DIGITS_ARCHITECTURE):
        model = info.model if model is None else model
        data = info.data if data is None else data
    names = None
    if info and model is not None:
        img_size = _side(info) if img_size is None else img_size
        names = label_names(model_config(info))
    found = find_source(
        model=model,
        data=data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        img_size=img_size,
        class_map=class_map,
        label_names=names,
        seed=info.seed if info else 0,
        limits=limits,
    )
    check_removal(found.model.model, remove, parameter="remove")
    if info and found.model.fingerprint != info.model_fingerprint:
        raise StudyMismatchError(
            f"{found.model.name} is not the model that {info.name} was searched on",
            advice="give that one with `model` and `checkpoint` or `pretrained`",
        )
    return found


def _side(info: StudyInfo) -> int | None:
    """Return the side of a study's square images, ``None`` if it has others."""
    match info.settings.get("img_size"):
        case [int(height), int(width)] if height == width:
            return height
    return None


def label_names(config: ModelConfig) -> list[str] | None:
    """Return the class of each output of a model, if it is recorded by name."""
    names = config.pretrained_cfg.get("label_names")
    return list(names) if isinstance(names, list | tuple) else None
