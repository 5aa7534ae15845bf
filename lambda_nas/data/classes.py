"""The classes of a folder: how many images each has."""

from collections.abc import Collection

import torch
from torch import Tensor

from lambda_nas.data.files import printable

NAMED = 6


def count_per_class(labels: Tensor, classes: dict[str, int], names: Collection[str]) -> str:
    """Say how many images each class has, in few words.

    Args:
        labels: ``[images]``, int64.
        classes: Class index of each folder name.
        names: The folder names to count.

    Examples:
        >>> count_per_class(torch.tensor([0, 1, 0]), {"ant": 0, "bee": 1}, ["ant", "bee"])
        'ant 2, bee 1'
    """
    counts = torch.bincount(labels, minlength=max(classes.values()) + 1).tolist()
    found = {name: counts[classes[name]] for name in sorted(names, key=classes.__getitem__)}
    if len(found) <= NAMED:
        return ", ".join(f"{printable(name)} {count}" for name, count in found.items())
    fewest, most = min(found.values()), max(found.values())
    span = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{span} in each of {len(found)} classes"
