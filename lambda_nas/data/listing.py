"""Lists the images of a folder and the class of the model's head that each belongs to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from timm.data.dataset_factory import create_dataset
from timm.data.readers.class_map import load_class_map
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torch import Tensor, nn

from lambda_nas.errors import InputError

NAMED = 3


class Splits(NamedTuple):
    """The training and validation folders of a dataset."""

    train: Path
    val: Path


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of one folder, in the order of their names.

    Attributes:
        root: The folder.
        reader: timm's reader; ``reader[i]`` returns an open file and its class.
        classes: Class index of the head for each folder name.
        labels: Class index of each image, ``[images]``, int64.
    """

    root: Path
    reader: ReaderImageFolder
    classes: dict[str, int]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def filename(self, index: int) -> str:
        """Return the path of an image relative to the folder."""
        return self.reader.filename(index)

    def fingerprint(self, *settings: object) -> str:
        """Return a hash of paths, sizes, classes and the given settings, 16 hex digits."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            size = Path(self.reader.filename(index, absolute=True)).stat().st_size
            digest.update(f"{self.filename(index)}\0{size}\0{self.labels[index]}\n".encode())
        for setting in settings:
            text = setting.fingerprint() if isinstance(setting, Listing) else repr(setting)
            digest.update(text.encode())
        return digest.hexdigest()[:16]


def find_splits(root: Path) -> Splits | None:
    """Return ``train/`` and ``val/`` (or ``validation/``) in ``root`` if both exist."""
    train = root / "train"
    for val in (root / "val", root / "validation"):
        if train.is_dir() and val.is_dir():
            return Splits(train, val)
    return None


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
        InputError: If the folder is missing or empty, or its classes don't fit the head.
    """
    if not root.is_dir():
        raise InputError(f"there is no data folder {root}")
    found = _read(root, {})
    names = set(found.class_to_idx)
    if class_map is not None:
        known = _read_class_map(class_map)
        _check_known(root, names, known, f"class map {class_map}")
    elif classes is not None:
        known = classes
        _check_known(root, names, known, "the training images")
    else:
        known = found.class_to_idx
    outputs: int = cast(Any, model).num_classes
    _check_head(root, known, outputs, names, mapped=class_map is not None)
    reader = _read(root, known)
    labels = torch.tensor([label for _, label in reader.samples], dtype=torch.int64)
    return Listing(root, reader, known, labels)


def _read(root: Path, classes: dict[str, int]) -> ReaderImageFolder:
    try:
        dataset = create_dataset("", root=str(root), class_map=classes, search_split=False)
    except RuntimeError as error:
        raise InputError(
            f"data folder {root} holds no images; expected one folder of images per class"
        ) from error
    reader: ReaderImageFolder = dataset.reader
    return reader


def _read_class_map(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise InputError(f"there is no class map file {path}")
    # timm would also unpickle, which runs any code in the file.
    if path.suffix.lower() != ".txt":
        raise InputError(f"class map {path} must be a .txt file with one class name per line")
    try:
        return load_class_map(str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"class map {path} can't be read ({error})") from error


def _check_known(root: Path, names: set[str], known: dict[str, int], where: str) -> None:
    unknown = sorted(names - known.keys())
    if unknown:
        more = ", ..." if len(unknown) > NAMED else ""
        raise InputError(
            f"{where}: missing {len(unknown)} of the {len(names)} classes below {root}: "
            f"{', '.join(map(repr, unknown[:NAMED]))}{more}"
        )


def _check_head(
    root: Path, known: dict[str, int], outputs: int, names: set[str], *, mapped: bool
) -> None:
    if mapped:
        beyond = sorted(name for name in names if not 0 <= known[name] < outputs)
        if beyond:
            raise InputError(
                f"the class map puts {beyond[0]!r} at {known[beyond[0]]}, but the model's head "
                f"has {outputs} classes"
            )
    elif len(known) > outputs:
        raise InputError(
            f"data folder {root} has {len(known)} classes, but the model's head has {outputs}",
            advice="use a model trained on these classes",
        )
    elif len(known) < outputs:
        raise InputError(
            f"data folder {root} has {len(known)} classes, but the model's head has {outputs}",
            advice="name the head's classes in order with `class_map` FILE",
        )
