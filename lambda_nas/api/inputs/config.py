"""What a search is asked for."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from torch import nn

from lambda_nas.cost.constraints import Constraints
from lambda_nas.errors import InputError
from lambda_nas.execution.settings import Budget
from lambda_nas.strategy.space_files import SpaceConfig

DEFAULT_BUDGET = 12

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchConfig:
    """A search as it was asked for.

    Attributes:
        budget: When to stop.
        model: A name as ``load_model`` takes it, or a network that timm built.
        data: An image folder; without model and data the built-in digits are searched.
        checkpoint: A file of weights for the model.
        pretrained: Whether to load timm's weights; by default unless there is a checkpoint.
        img_size: Side of the square images to search on, if it isn't the model's own.
        class_map: A text file of class names in the order of the head.
        trust_classes: Whether the order of classes is accepted whatever the accuracy.
        space: Name of a shipped space, a YAML file, or the space itself.
        study: Name of the study; by default that of model and data.
        storage: SQLAlchemy URL of the study database, if it is not the default one.
        weights: The folder of the folders of studies' weights; by default the database's.
        workers: Trials that run at the same time.
        gpus_per_trial: By default the workers share one GPU, if there is one.
        ray_address: The Ray cluster to join; ``None`` starts one for this search.
        trial_timeout: Seconds that a trial may take; ``None`` takes them from what is known.
        constraints: Constraints on the price of an architecture.
        seed: Random seed for the data split and the sampler.
    """

    budget: Budget
    model: str | nn.Module | None = None
    data: str | Path | None = None
    checkpoint: str | Path | None = None
    pretrained: bool | None = None
    img_size: int | None = None
    class_map: str | Path | None = None
    trust_classes: bool = False
    space: str | Path | SpaceConfig | None = None
    study: str | None = None
    storage: str | None = None
    weights: Path | None = None
    workers: int = 1
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    trial_timeout: float | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seed: int = 0


class SearchOptions(TypedDict, total=False):
    """The options of ``search``, which says what they mean."""

    budget: int | str
    space: str | Path | SpaceConfig | None
    study: str | None
    storage: str | None
    weights: str | Path | None
    checkpoint: str | Path | None
    pretrained: bool | None
    img_size: int | None
    class_map: str | Path | None
    trust_classes: bool
    workers: int
    gpus_per_trial: float | None
    ray_address: str | None
    trial_timeout: str | float | None
    max_params: int | None
    max_memory: int | str | None
    min_throughput: float | None
    min_speedup: float | None
    seed: int


def configure(
    model: nn.Module | str | None, data: str | Path | None, options: SearchOptions
) -> SearchConfig:
    """Read the options of a search.

    Raises:
        InputError: If one of them can't be understood.
    """
    max_memory, weights = options.get("max_memory"), options.get("weights")
    timeout = options.get("trial_timeout")
    return SearchConfig(
        budget=parse_budget(str(options.get("budget", DEFAULT_BUDGET))),
        model=model,
        data=data,
        checkpoint=options.get("checkpoint"),
        pretrained=options.get("pretrained"),
        img_size=options.get("img_size"),
        class_map=options.get("class_map"),
        trust_classes=options.get("trust_classes", False),
        space=options.get("space"),
        study=options.get("study"),
        storage=options.get("storage"),
        weights=None if weights is None else Path(weights),
        workers=options.get("workers", 1),
        gpus_per_trial=options.get("gpus_per_trial"),
        ray_address=options.get("ray_address"),
        trial_timeout=None if timeout is None else parse_timeout(timeout),
        constraints=Constraints(
            options.get("max_params"),
            None if max_memory is None else parse_bytes(str(max_memory)),
            options.get("min_throughput"),
            options.get("min_speedup"),
        ),
        seed=options.get("seed", 0),
    )


def parse_budget(text: str) -> Budget:
    """Read ``40`` (evaluated trials) or ``90s``, ``30m``, ``2h`` (wall time).

    Raises:
        InputError: If it is neither, or not above zero.
    """
    seconds = _seconds(text)
    if seconds:
        return Budget(seconds=seconds)
    if text.isascii() and text.isdigit() and int(text) > 0:
        return Budget(trials=int(text))
    raise InputError(
        "not a budget",
        parameter="budget",
        value=text,
        allowed="a number of trials above 0, such as 40, or a time such as 90s, 30m or 2h",
    )


def parse_timeout(given: str | float) -> float:
    """Read ``90s``, ``30m``, ``2h`` or a number of seconds.

    Raises:
        InputError: If it is neither, or not above zero.
    """
    seconds = _seconds(given) if isinstance(given, str) else float(given)
    if seconds is None or not 0 < seconds < math.inf:
        raise InputError(
            "not a time limit",
            parameter="trial_timeout",
            value=given,
            allowed="a time above 0 such as 90s, 30m or 2h",
        )
    return seconds


def _seconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    return float(match[1]) * _SECONDS[match[2]] if match else None


def parse_bytes(text: str) -> int:
    """Read a size such as ``300MB``, ``1.5GiB`` or ``200000000``, in bytes.

    Raises:
        InputError: If it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kmg]i?)b?", text.lower())
    if not match:
        raise InputError(
            "not a size",
            parameter="max_memory",
            value=text,
            allowed="a size such as 300MB or 1.5GiB",
        )
    return int(float(match[1]) * _BYTES[match[2]])
