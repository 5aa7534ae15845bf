"""What the columns hold: anything else that is found there is damage, told by its column."""

import reprlib
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from sqlalchemy.orm import DeclarativeBase

HOLDS = "holds"
"""Key in a column's ``info``: the model of its JSON document."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]
Hexadecimal = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Layers = Annotated[list[Index], Field(min_length=1)]
Stages = Annotated[list[Layers], Field(min_length=1)]
Seconds = Annotated[dict[str, NotNegative], Field()]

# Names such as `model_args` are fields here.
_STRICT = ConfigDict(strict=True, protected_namespaces=())


class StoredSettings(BaseModel):
    """The settings of a study that anything reads."""

    model_config = _STRICT

    architecture: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    removed_before: list[Index]
    doubled_before: list[Index]
    data: str
    evaluation_images: Count | None = None
    batch_size: Count
    rungs: Count
    repair: bool
    seeds: list[list[Index]]


class _LayerPrior(BaseModel):
    model_config = _STRICT

    index: Index
    entropy_attn: Finite | None
    entropy_mlp: Finite | None
    transfer_entropy: Finite
    relative_entropy: Finite
    high_frequency: Finite | None


class _Step(BaseModel):
    model_config = _STRICT

    added: Index
    removed: Layers
    score: Finite
    high_frequency: list[Finite]


class _Scored(BaseModel):
    model_config = _STRICT

    removed: list[Index]
    score: Finite


class StoredPrior(BaseModel):
    """A study's prior."""

    model_config = _STRICT

    score: str
    images: Count
    layers: list[_LayerPrior]
    path: list[_Step]
    scored: list[_Scored]


def check_row(row: DeclarativeBase) -> None:
    """Check a row that was read.

    Raises:
        ValueError: If a column holds what it can't; names the column.
    """
    try:
        _model(type(row)).model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (row.__tablename__, *first["loc"])))
        raise ValueError(f"{place} is {_shown(first['input'])}: {first['msg']}") from None


@cache
def _model(table: type[DeclarativeBase]) -> type[BaseModel]:
    hints = get_type_hints(table, include_extras=True)
    fields: Mapping[str, Any] = {
        column.name: (column.info.get(HOLDS, get_args(hints[column.name])[0]), ...)
        for column in table.__table__.columns
    }
    config = ConfigDict(**_STRICT, from_attributes=True)
    return create_model(table.__name__, __config__=config, **fields)


def _shown(value: object) -> str:
    return " ".join(reprlib.repr(value).split())
