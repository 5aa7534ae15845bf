"""Search spaces from YAML files: which layers of a model may be removed. One file per model."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
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
from lambda_nas.models.merging import Merging

Layer = Annotated[int, Field(ge=0)]


class SpaceConfig(BaseModel):
    """The content of a search space file.

    Attributes:
        name: Name of the space.
        model: The model that the space is for, as ``search`` takes it; None for any.
        removable: Indices of the blocks whose attention may be removed, or "all".
        max_removed: Maximum number of removed layers; None for no limit.
        seeds: Removal sets to evaluate first, by name, such as those of the paper.
        tome_r: Pairs of tokens that a block may merge; merging none is always possible.
        tome_start: Blocks at which merging may start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    model: str | None = None
    removable: list[Layer] | Literal["all"] = "all"
    max_removed: Annotated[int, Field(ge=1)] | None = None
    seeds: dict[str, list[Layer]] = {}
    tome_r: list[Annotated[int, Field(ge=1)]] = []
    tome_start: list[Layer] = [0]

    @property
    def mergings(self) -> tuple[Merging, ...]:
        """All ways to merge tokens."""
        return tuple(sorted({Merging(r, start) for r in self.tome_r for start in self.tome_start}))

    @field_validator("removable")
    @classmethod
    def _unique(cls, removable: list[int] | Literal["all"]) -> list[int] | Literal["all"]:
        if len(set(removable)) < len(removable) and removable != "all":
            raise ValueError("a layer is named twice")
        if not removable:
            raise ValueError("name at least one layer, or write all")
        return removable

    @field_validator("tome_start")
    @classmethod
    def _start_of_something(cls, starts: list[int], info: ValidationInfo) -> list[int]:
        if not info.data.get("tome_r", True):
            raise ValueError("tome_r is missing: how many pairs a block merges, such as [8, 16]")
        if not starts:
            raise ValueError("name at least one block")
        return starts

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


def shipped_spaces() -> dict[str, Traversable]:
    """Return the files of the spaces that come with the package, by name."""
    folder = files("lambda_nas") / "search_spaces"
    if not folder.is_dir():
        # In a checkout the folder lies beside the package.
        folder = Path(__file__).parents[2] / "search_spaces"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {PurePath(file.name).stem: file for file in found if file.name.endswith(".yaml")}


def load_space(name_or_file: str) -> SpaceConfig:
    """Read a shipped space by name, or a YAML file.

    Raises:
        InputError: If there is none, or if the file is wrong; it lists all problems with their
            lines and keys.
    """
    shipped = shipped_spaces()
    path = shipped.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        raise InputError(
            "there is no such search space",
            parameter="space",
            value=name_or_file,
            allowed=f"a YAML file or one of {', '.join(shipped)}",
        )
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"not YAML ({reason})", parameter="space", value=name_or_file) from error
    if not isinstance(content, dict):
        raise InputError("must map keys to values", parameter="space", value=name_or_file)
    try:
        return SpaceConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(_problems(error, text), parameter="space", value=name_or_file) from error


def _problems(error: ValidationError, text: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # It was a mapping.
    return "; ".join(
        f"line {_line(root, problem['loc'])}, {'.'.join(map(str, problem['loc']))}: "
        f"{problem['msg']}"
        for problem in error.errors()
    )


def _line(node: yaml.Node, place: tuple[int | str, ...]) -> int:
    """Return the line of a key, or of the last part of its place that the file has."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = {key.value: (key, value) for key, value in node.value}
            if part not in found:
                break
            key, node = found[part]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
