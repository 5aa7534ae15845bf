"""Reads the weights of trials, and checks whose they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import safetensors
from torch import Tensor

from lambda_nas.errors import InputError
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.weights import StudyWeights


def load_weights(
    weights: StudyWeights, trial: int, architecture: Architecture
) -> dict[str, Tensor]:
    """Return the tensors that a trial left, on the CPU.

    Raises:
        InputError: If the file is missing or damaged, or holds the weights of anything else.
    """
    with _opened(weights, trial, architecture) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def check_weights(weights: StudyWeights, trial: int, architecture: Architecture) -> None:
    """Check a trial's file by its header, which also says how long the file must be.

    Raises:
        InputError: If the file is missing or damaged, or holds the weights of anything else.
    """
    with _opened(weights, trial, architecture):
        pass


@contextmanager
def _opened(
    weights: StudyWeights, trial: int, architecture: Architecture
) -> Iterator[safetensors.safe_open]:
    path = weights.file(trial)
    if not path.is_file():
        raise InputError(
            f"the weights of trial {trial} are not at {path}",
            advice="they are on the machine that searched; if they were moved, give `weights`",
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            _check_label(weights, trial, architecture, file.metadata() or {})
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"the weights at {path} can't be read ({error})") from error


def _check_label(
    weights: StudyWeights, trial: int, architecture: Architecture, found: dict[str, str]
) -> None:
    expected, path = weights.label(trial, architecture), weights.file(trial)
    if "study" not in found:
        raise InputError(
            f"the weights at {path} don't say which study they belong to",
            advice="an older lambda-nas wrote them: search again",
        )
    if found["study"] != expected["study"]:
        raise InputError(f"the weights at {path} belong to another study ({found['study']})")
    if any(found.get(key) != value for key, value in expected.items()):
        raise InputError(
            f"the weights at {path} are those of trial {found.get('trial')}, "
            f"{found.get('architecture')}, not of trial {trial}, {expected['architecture']}"
        )
