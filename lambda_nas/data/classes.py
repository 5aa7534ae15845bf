"""Which output of a model's head each folder of images stands for."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lambda_nas.data.class_map import read_class_map
from lambda_nas.data.files import escape_line, name_some, natural_key
from lambda_nas.errors import InputError

FEW = 6
"""So many classes are told one by one."""

Reading = Literal["last", "first"]
"""Which folder of a path names the class: the last as in timm, or the first as in torchvision."""
READINGS: tuple[Reading, ...] = ("last", "first")


@dataclass(frozen=True)
class ClassOrder:
    """An order of the classes of a model's head.

    Attributes:
        origin: Where the order is from, as users call it.
        names: Folder name of each output.
    """

    origin: str
    names: tuple[str, ...]

    @property
    def outputs(self) -> dict[str, int]:
        """The head's output for each folder name."""
        return {name: output for output, name in enumerate(self.names)}


@dataclass(frozen=True)
class Classes:
    """How the folders of a dataset name its classes, and which output each class is.

    Attributes:
        reading: Which folder of a path names the class.
        orders: The order that is used, and others that it might be.
        notes: Messages for the user.
    """

    reading: Reading
    orders: tuple[ClassOrder, ...]
    notes: tuple[str, ...] = ()

    @property
    def order(self) -> ClassOrder:
        """The order that is used."""
        return self.orders[0]

    def names_of(self, folders: Sequence[str]) -> list[str]:
        """Return the class name of each folder, given as a path relative to the dataset."""
        return [_name(folder, self.reading) for folder in folders]


def find_classes(
    root: Path, folders: Collection[str], model: nn.Module, class_map: Path | None
) -> Classes:
    """Find out which output each folder is.

    A class map says it; without one the names in the model's config (``label_names``), if they
    name all folders; otherwise the outputs are in the natural order of the folders' names.

    Args:
        root: The dataset.
        folders: Folders that hold images, as paths relative to ``root``.
        model: The model, whose head has ``num_classes`` outputs.
        class_map: A text file of class names in the order of the head.

    Raises:
        InputError: If the class map, or the number of classes, doesn't fit folders and head.
    """
    outputs: int = cast(Any, model).num_classes
    labeled = list(_label_orders(model, outputs))
    given = labeled
    if class_map is not None:
        given = [ClassOrder("the class map", read_class_map(class_map))]
    used, reading = next(_fits(root, folders, given), (None, None))
    if class_map is not None:
        reading = reading or _nearest(folders, given[0])
        _check_map(root, _names(folders, reading), given[0].names, outputs, class_map)
    elif reading is None:
        _check_one_reading(root, folders)
        reading = "last"
    names = _names(folders, reading)
    natural = ClassOrder("timm's natural order", _in_natural_order(names))
    if used is None:
        _check_count(root, len(names), outputs)
        used = natural
    notes = (
        *(() if class_map else _note_labels(model, used, natural)),
        *_note_rest(used, names),
        *_note_same_names(folders, reading),
    )
    orders = _possible(used, [*labeled, natural], names)
    return Classes(reading, orders, notes)


def count_per_class(labels: Tensor, outputs: Mapping[str, int], names: Collection[str]) -> str:
    """Say how many images each class has, in few words.

    Args:
        labels: ``[images]``, int64.
        outputs: Class index of each folder name.
        names: The folder names to count.

    Examples:
        >>> count_per_class(torch.tensor([0, 1, 0]), {"ant": 0, "bee": 1}, ["ant", "bee"])
        'ant 2, bee 1'
    """
    counts = torch.bincount(labels, minlength=len(outputs)).tolist()
    found = {name: counts[outputs[name]] for name in sorted(names, key=outputs.__getitem__)}
    if len(found) <= FEW:
        return ", ".join(f"{escape_line(name)} {count}" for name, count in found.items())
    fewest, most = min(found.values()), max(found.values())
    span = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{span} in each of {len(found)} classes"


def _in_natural_order(names: Collection[str]) -> tuple[str, ...]:
    # Names that differ only in case or leading zeros are equal by the key alone.
    return tuple(sorted(sorted(names), key=natural_key))


def _names(folders: Collection[str], reading: Reading) -> set[str]:
    return {_name(folder, reading) for folder in folders}


def _name(folder: str, reading: Reading) -> str:
    return folder.rpartition("/")[2] if reading == "last" else folder.partition("/")[0]


def _label_names(model: nn.Module) -> object:
    return dict(getattr(model, "pretrained_cfg", None) or {}).get("label_names")


def _label_orders(model: nn.Module, outputs: int) -> Iterator[ClassOrder]:
    """Yield the orders that the model's config gives: of names, and of their descriptions."""
    names = _label_names(model)
    if isinstance(names, Mapping):
        # In JSON the indices are strings.
        indexed = {str(index): name for index, name in names.items()}
        names = [indexed.get(str(output)) for output in range(len(indexed))]
    if not isinstance(names, Sequence) or isinstance(names, str):
        return
    orders = {"label_names": names}
    described = dict(cast(Any, model).pretrained_cfg).get("label_descriptions")
    if isinstance(described, Mapping):
        orders["label_descriptions"] = [described.get(name) for name in names]
    for key, order in orders.items():
        if len(set(order)) == len(order) == outputs and all(
            isinstance(each, str) for each in order
        ):
            yield ClassOrder(f"the model's {key}", tuple(order))


def _fits(
    root: Path, folders: Collection[str], orders: Sequence[ClassOrder]
) -> Iterator[tuple[ClassOrder, Reading]]:
    """Yield the orders that name all folders, with the reading in which they do; timm's first."""
    for order in orders:
        known = set(order.names)
        fitting = [reading for reading in READINGS if _names(folders, reading) <= known]
        if len(fitting) == len(READINGS):
            _check_one_reading(root, folders)
        if fitting:
            yield order, fitting[0]


def _nearest(folders: Collection[str], order: ClassOrder) -> Reading:
    """Return the reading in which the fewest folders lack a name."""
    known = set(order.names)
    return min(READINGS, key=lambda reading: len(_names(folders, reading) - known))


def _possible(
    used: ClassOrder, others: Sequence[ClassOrder], names: set[str]
) -> tuple[ClassOrder, ...]:
    """Return the order that is used, and all others in which the head's outputs may be."""
    alphabet = ClassOrder("torchvision's order of the alphabet", tuple(sorted(names)))
    guesses = [used, *others, alphabet]
    if used.names[0] not in names:
        # As if a header had been read as a name.
        guesses.append(
            ClassOrder(f"{used.origin} without its first name", used.names[1:] + used.names[:1])
        )
    orders: dict[tuple[str, ...], ClassOrder] = {}
    for guess in guesses:
        if len(guess.names) == len(used.names) and names <= set(guess.names):
            orders.setdefault(guess.names, guess)
    return tuple(orders.values())


def _same_names(folders: Collection[str]) -> dict[str, list[str]]:
    """Return the folders that have the last name of their path in common."""
    places = defaultdict(list)
    for folder in sorted(set(folders)):
        places[_name(folder, "last")].append(folder)
    return {name: found for name, found in places.items() if len(found) > 1}


def _check_one_reading(root: Path, folders: Collection[str]) -> None:
    same = _same_names(folders)
    if not same:
        return
    name, places = next(iter(same.items()))
    last, first = (sorted(_names(folders, reading)) for reading in READINGS)
    raise InputError(
        f"{name!r} lies in several folders ({name_some(places)}): if the last folder names the "
        f"class, as in timm, the classes are {name_some(last)}; if the first does, as in "
        f"torchvision, {name_some(first)}",
        parameter="data",
        value=root,
        advice="name the classes in the order of the head with `class_map` FILE",
    )


def _check_map(
    root: Path, names: set[str], listed: tuple[str, ...], outputs: int, class_map: Path
) -> None:
    missing = _in_natural_order(names - set(listed))
    surplus = [name for name in listed if name not in names]
    problems = []
    if len(listed) != outputs:
        problems.append(f"{len(listed)} names for the {outputs} outputs of the model's head")
    if missing:
        problems.append(
            f"it lacks {len(missing)} of the {len(names)} classes below {root}: {_quote(missing)}"
        )
    if not problems:
        return
    if surplus:
        are = "is" if len(surplus) == 1 else "are"
        problems.append(f"{len(surplus)} of its names {are} no folder: {_quote(surplus)}")
    extra = listed[0] not in names and (missing or len(listed) == outputs + 1)
    advice = f"remove the first line, {listed[0]!r}, if it is no class" if extra else None
    raise InputError("; ".join(problems), parameter="class_map", value=class_map, advice=advice)


def _check_count(root: Path, count: int, outputs: int) -> None:
    if count == outputs:
        return
    raise InputError(
        f"has {count} classes, but the model's head has {outputs}",
        parameter="data",
        value=root,
        advice="use a model trained on these classes"
        if count > outputs
        else "name the head's classes in order with `class_map` FILE",
    )


def _note_labels(model: nn.Module, used: ClassOrder, natural: ClassOrder) -> Iterator[str]:
    """Say what became of the names in the model's config."""
    if used is natural and _label_names(model):
        yield (
            "the label_names of the model's config don't name these folders: the outputs are taken "
            f"in {natural.origin}"
        )
    elif used.names != natural.names:
        yield f"which output is which class: by {used.origin}"


def _note_rest(used: ClassOrder, names: set[str]) -> Iterator[str]:
    rest = [name for name in used.names if name not in names]
    if rest:
        yield f"{len(rest)} of the head's {len(used.names)} classes have no folder: {_quote(rest)}"


def _note_same_names(folders: Collection[str], reading: Reading) -> Iterator[str]:
    same = _same_names(folders) if reading == "last" else {}
    if same:
        name, places = next(iter(same.items()))
        yield f"folders of the same name are one class: {name!r} is {name_some(places)}"


def _quote(names: Sequence[str]) -> str:
    return name_some([*map(repr, names)])
