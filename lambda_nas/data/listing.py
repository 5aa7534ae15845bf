"""Lists the images of a folder and the class of the model's head that each belongs to."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lambda_nas.data.classes import Classes, count_per_class, find_classes
from lambda_nas.data.files import ImageFiles, escape_line, find_images, name_some, natural_key
from lambda_nas.errors import InputError

# Beyond this share of images or folders that can't be read, it is an error.
UNREADABLE_LIMIT = 0.1


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of one folder, in the order of their names.

    Attributes:
        root: The folder.
        files: What lies below the folder.
        classes: Which output of the head each folder is.
        labels: Class index of each image, ``[images]``, int64.
    """

    root: Path
    files: ImageFiles
    classes: Classes
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def filename(self, index: int) -> str:
        """Return the path of an image relative to the folder."""
        return self.files.images[index]

    def path(self, index: int) -> Path:
        """Return the path of an image."""
        return self.root / self.filename(index)

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user about what is not read."""
        left_out = self.files.left_out()
        return (f"not read below {escape_line(str(self.root))}: {left_out}",) if left_out else ()

    def count_per_class(self, labels: Tensor) -> str:
        """Say how many images each class of the folder has among these."""
        names = set(self.classes.names_of(self.files.folders()))
        return count_per_class(labels, self.classes.order.outputs, names)


def list_images(
    root: Path,
    model: nn.Module,
    class_map: Path | None,
    *,
    like: Listing | None = None,
) -> Listing:
    """Find the images of a folder and check their classes against the model's head.

    Args:
        root: A folder with one folder of images per class.
        model: The model, whose head has ``num_classes`` classes.
        class_map: A text file of class names in the order of the head.
        like: The training images, whose classes are those of this folder.

    Raises:
        InputError: If the folder is empty, or its classes don't fit the head.
    """
    files = _find(root)
    folders = files.folders()
    try:
        classes = like.classes if like else find_classes(root, set(folders), model, class_map)
    except InputError as error:
        # A class that is not read may be why.
        if left_out := files.left_out():
            error.problem += f" (not read: {left_out})"
        raise
    names, outputs = classes.names_of(folders), classes.order.outputs
    unknown = sorted(set(names) - outputs.keys(), key=natural_key)
    if unknown:
        raise InputError(
            f"{len(unknown)} of the {len(set(names))} classes have no training images: "
            f"{name_some([*map(repr, unknown)])}",
            parameter="data",
            value=root,
        )
    labels = torch.tensor([outputs[name] for name in names], dtype=torch.int64)
    return Listing(root, files, classes, labels)


def _find(root: Path) -> ImageFiles:
    files = find_images(root)
    unreadable = len(files.closed)
    total = len(set(files.folders())) + unreadable
    if unreadable > UNREADABLE_LIMIT * total:
        closed = name_some([f"{path} ({reason})" for path, reason in files.closed.items()])
        raise InputError(
            f"can't read {unreadable} of {total} folders: {closed}",
            parameter="data",
            value=root,
        )
    if not files.images:
        left_out = files.left_out()
        raise InputError(
            f"holds no images{' but ' if left_out else ''}{left_out}",
            parameter="data",
            value=root,
            allowed="one folder of images per class",
        )
    return files
