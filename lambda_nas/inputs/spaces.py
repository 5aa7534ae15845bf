"""Search spaces: which layers of a model family may go. One YAML file each."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from lambda_nas.errors import InputError

Layer = Annotated[int, Field(ge=0)]
PACKAGE = Path(__file__).parents[1]


class SearchSpace(BaseModel):
    """The sets a search may propose.

    Attributes:
        name: What the user calls it.
        model: The model it is for, as ``--model`` takes it; None for any.
        removable: Block indices whose attention may go, or all that the model has.
        max_removed: The most layers a set may have; None for no limit.
        seeds: Sets to evaluate first, by name, such as those the paper found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    model: str | None = None
    removable: list[Layer] | Literal["all"] = "all"
    max_removed: Annotated[int, Field(ge=1)] | None = None
    seeds: dict[str, list[Layer]] = {}

    @field_validator("removable")
    @classmethod
    def _unique(cls, removable: list[int] | Literal["all"]) -> list[int] | Literal["all"]:
        if len(set(removable)) < len(removable) and removable != "all":
            raise ValueError("a layer is named twice")
        if not removable:
            raise ValueError("name at least one layer, or write all")
        return removable

    @field_validator("seeds")
    @classmethod
    def _seeds_fit(cls, seeds: dict[str, list[int]], info: ValidationInfo) -> dict[str, list[int]]:
        removable, most = info.data.get("removable", "all"), info.data.get("max_removed")
        for name, layers in seeds.items():
            beyond = [] if removable == "all" else sorted(set(layers) - set(removable))
            if beyond:
                raise ValueError(f"{name!r} has layers that aren't removable: {beyond}")
            if most is not None and len(set(layers)) > most:
                raise ValueError(f"{name!r} has more layers than max_removed ({most})")
        return seeds


def shipped_spaces() -> dict[str, Path]:
    """Return the files of the spaces that come with the package, by name."""
    # In a wheel they lie inside the package; in a checkout, beside it.
    inside = PACKAGE / "search_spaces"
    folder = inside if inside.is_dir() else PACKAGE.parent / "search_spaces"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_space(name_or_file: str) -> SearchSpace:
    """Read a shipped space by name, or a YAML file.

    Raises:
        InputError: If there is none, or for all its problems together, a key each.
    """
    shipped = shipped_spaces()
    path = shipped.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        raise InputError(
            f"there is no search space {name_or_file}: give a YAML file or one of "
            f"{', '.join(shipped)}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"search space {path} is not YAML ({reason})") from error
    if not isinstance(content, dict):
        raise InputError(f"search space {path} must map keys to values")
    try:
        return SearchSpace.model_validate(content)
    except ValidationError as error:
        raise InputError(f"search space {path}: {_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    )
