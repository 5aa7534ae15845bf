"""Lists the images of a folder and the class of the model's head that each belongs to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from timm.data.readers.class_map import load_class_map
from torch import Tensor, nn

from lambda_nas.data.classes import count_per_class
from lambda_nas.data.files import NAMED, ImageFiles, find_images, name_some, natural_key
from lambda_nas.errors import InputError

# Beyond this share of images or folders that can't be read, it is an error.
UNREADABLE_LIMIT = 0.1


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of one folder, in the order of their names.

    Attributes:
        root: The folder.
        files: What lies below the folder.
        classes: Class index of the head for each folder name.
        labels: Class index of each image, ``[images]``, int64.
    """

    root: Path
    files: ImageFiles
    classes: dict[str, int]
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
        return (f"not read below {self.root}: {left_out}",) if left_out else ()

    def count_per_class(self, labels: Tensor) -> str:
        """Say how many images each class of the folder has among these."""
        names = {folder.rpartition("/")[2] for folder in self.files.folders()}
        return count_per_class(labels, self.classes, names)

    def fingerprint(self, *settings: object) -> str:
        """Return a hash of paths, sizes, classes and the given settings, 16 hex digits."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            size = self.path(index).stat().st_size
            digest.update(f"{self.filename(index)}\0{size}\0{self.labels[index]}\n".encode())
        for setting in settings:
            text = setting.fingerprint() if isinstance(setting, Listing) else repr(setting)
            digest.update(text.encode())
        return digest.hexdigest()[:16]


def list_images(
    root: Path,
    model: nn.Module,
    class_map: Path | None,
    *,
    classes: dict[str, int] | None = None,
) -> Listing:
    """Find the images of a folder and check their classes against the model's head.

    Args:
        root: A folder with one folder of images per class.
        model: The model, whose head has ``num_classes`` classes.
        class_map: A text file of class names in the order of the head.
        classes: Class indices of the training images, used if there is no class map.

    Raises:
        InputError: If the folder is empty, or its classes don't fit the head.
    """
    files = _find(root)
    # As in timm, the last folder of the path names the class.
    folders = [folder.rpartition("/")[2] for folder in files.folders()]
    names = set(folders)
    if class_map is not None:
        known = _read_class_map(class_map)
        _check_known(root, names, known, class_map)
    elif classes is not None:
        known = classes
        _check_known(root, names, known, None)
    else:
        known = {name: index for index, name in enumerate(sorted(names, key=natural_key))}
    outputs: int = cast(Any, model).num_classes
    _check_head(root, known, outputs, names, class_map)
    labels = torch.tensor([known[name] for name in folders], dtype=torch.int64)
    return Listing(root, files, known, labels)


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


def _read_class_map(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise InputError("there is no such file", parameter="class_map", value=path)
    # timm would also unpickle, which runs any code in the file.
    if path.suffix.lower() != ".txt":
        raise InputError(
            "not a .txt file",
            parameter="class_map",
            value=path,
            allowed="a .txt file with one class name per line",
        )
    try:
        return load_class_map(str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't be read ({error})", parameter="class_map", value=path) from error


def _check_known(
    root: Path, names: set[str], known: dict[str, int], class_map: Path | None
) -> None:
    """Raise ``InputError`` unless the class map, or else the training images, has all classes."""
    unknown = sorted(names - known.keys())
    if unknown:
        more = ", ..." if len(unknown) > NAMED else ""
        count = f"{len(unknown)} of the {len(names)} classes"
        which = f"{', '.join(map(repr, unknown[:NAMED]))}{more}"
        if class_map is None:
            raise InputError(
                f"{count} have no training images: {which}", parameter="data", value=root
            )
        raise InputError(
            f"missing {count} below {root}: {which}", parameter="class_map", value=class_map
        )


def _check_head(
    root: Path, known: dict[str, int], outputs: int, names: set[str], class_map: Path | None
) -> None:
    if class_map is not None:
        beyond = sorted(name for name in names if not 0 <= known[name] < outputs)
        if beyond:
            raise InputError(
                f"{beyond[0]!r} is at {known[beyond[0]]}, but the model's head has {outputs} "
                "classes",
                parameter="class_map",
                value=class_map,
            )
    elif len(known) > outputs:
        raise InputError(
            f"has {len(known)} classes, but the model's head has {outputs}",
            parameter="data",
            value=root,
            advice="use a model trained on these classes",
        )
    elif len(known) < outputs:
        raise InputError(
            f"has {len(known)} classes, but the model's head has {outputs}",
            parameter="data",
            value=root,
            advice="name the head's classes in order with `class_map` FILE",
        )
