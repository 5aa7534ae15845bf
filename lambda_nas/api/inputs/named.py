"""The architecture that a command is about, and the model and images of its study."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lambda_nas.api.inputs.source import Source, Stage, find_source
from lambda_nas.api.study import Study
from lambda_nas.data.selection import ImageLimits
from lambda_nas.errors import InputError, StudyMismatchError
from lambda_nas.exports.card import Results
from lambda_nas.exports.front_trial import timing_of
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import Layers, RemovalSet
from lambda_nas.models.surgery import check_removal, remove_attention
from lambda_nas.pretrained.entry_points import DIGITS_ARCHITECTURE
from lambda_nas.pretrained.loading import NOTHING
from lambda_nas.records.selection import choose
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.formatting import short_name


@dataclass(frozen=True)
class Choice:
    """A trial of a front, or layers that a person names.

    Attributes:
        remove: The layers named, if they are.
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
    ) -> "Choice":
        """Read what a person chooses by.

        Raises:
            InputError: If ``remove`` is no list of layers, or something is given beside it.
        """
        criteria = {"trial": trial, "max_drop": max_drop, "min_speedup": min_speedup}
        others = [f"`{name}`" for name, value in criteria.items() if value is not None]
        if remove is not None and others:
            raise InputError(f"give either `remove` or {' and '.join(others)}")
        named = None if remove is None else RemovalSet.named(remove)
        return cls(named, trial, max_drop, min_speedup)

    def on_front(self, study: Study) -> ParetoTrial | None:
        """Return the member of the front; ``None`` if the layers named are none's.

        Raises:
            InputError: If the trial is not on the front.
            InfeasibleError: If no trial of the front qualifies; names the nearest.
            LayerIndexError: If the study's model has no such layers.
        """
        record = study.record
        if self.remove is None:
            return choose(
                record.info,
                record.front,
                trial=self.trial,
                max_drop=self.max_drop,
                min_speedup=self.min_speedup,
            )
        wanted = Architecture(self.remove)
        return next((each for each in record.front if each.architecture == wanted), None)


def remove_named(model: nn.Module, removal: RemovalSet) -> nn.Module:
    """Return a copy of a model without the layers that a person named.

    Raises:
        LayerIndexError: If a layer does not exist, can't be removed, or is removed already.
    """
    check_removal(model, removal, parameter="remove")
    return remove_attention(model, removal).model


def open_study_source(
    stage: Stage,
    info: StudyInfo | None,
    *,
    model: nn.Module | str | None,
    data: str | Path | None,
    checkpoint: str | Path | None,
    pretrained: bool | None,
    class_map: str | Path | None,
    limits: ImageLimits | None = None,
    remove: RemovalSet = NOTHING,
) -> Source:
    """Load the study's model and images, or those given in their place or without a study.

    Raises:
        InputError: If they can't be used.
        StudyMismatchError: If the model is not the one that was searched.
        LayerIndexError: If a layer of ``remove`` can't be removed.
    """
    given = model is not None or data is not None
    if info and (given or info.model != DIGITS_ARCHITECTURE):
        model = info.model if model is None else model
        data = info.data if data is None else data
    found = find_source(
        model=model,
        data=data,
        checkpoint=checkpoint,
        pretrained=pretrained,
        img_size=None if model is None else _side(info),
        class_map=class_map,
        seed=info.seed if info else 0,
        limits=limits,
    )
    check_removal(found.model.model, remove, parameter="remove")
    if info and found.model.fingerprint != info.model_fingerprint:
        raise StudyMismatchError(
            f"{found.model.name} is not the model that {info.name} was searched on",
            advice="give that one with `model` and `checkpoint` or `pretrained`",
        )
    return found.read(stage)


def _side(info: StudyInfo | None) -> int | None:
    """Return the side of a study's square images, ``None`` if it has others."""
    match info and info.settings.get("img_size"):
        case [int(height), int(width)] if height == width:
            return height
    return None


def describe_results(
    source: Source,
    architecture: Architecture,
    *,
    study: Study | None,
    trial: int | None = None,
    weights: str,
    accuracy: float,
) -> Results:
    """Return what is known of a network that was just made, for its model card.

    Args:
        source: What it was made from.
        architecture: Of the network.
        study: The study that the architecture was chosen in, if there is one.
        trial: Number of the trial, if it is one's.
        weights: Description of how the weights were obtained.
        accuracy: Top-1 on the evaluation images, a fraction.
    """
    results = Results(
        study=None,
        trial=trial,
        model=source.model.name,
        data=f"{short_name(source.data_name)} ({len(source.data.evaluation)} images)",
        weights=weights,
        accuracy=accuracy,
        baseline_accuracy=None,
        timing=None,
    )
    if study is None:
        return results
    info, price = study.record.info, study.record.prices.get(architecture)
    return replace(
        results,
        study=info.name,
        # Of other images, the study knows nothing.
        baseline_accuracy=info.baseline_accuracy if source.data_name == info.data else None,
        timing=timing_of(info, price) if price else None,
    )
