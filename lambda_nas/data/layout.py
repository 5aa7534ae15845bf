"""Finds out which folders of a dataset hold training images and which hold evaluation images."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lambda_nas.data.files import EXTENSIONS, SYSTEM, describe, escape_line, is_folder
from lambda_nas.errors import InputError

TRAINING = ("train", "training")
# Of several, the first is used: what is called a test set is left for after the search.
EVALUATION = ("val", "validation", "valid", "dev", "eval", "evaluation", "test", "testing")
EXPECTED = (
    "one folder of images per class, or train/ (training/) beside one of "
    f"{', '.join(f'{name}/' for name in EVALUATION)}, with those in each"
)
NAMED = 6
DEPTH = 3
"""How deep to look for an image: split, class, and perhaps a folder in it."""


@dataclass(frozen=True)
class Layout:
    """Which folders of a dataset are for what.

    Attributes:
        root: The dataset.
        train: The folder of training images, if the dataset is split.
        evaluation: The folder of evaluation images, if the dataset is split. It may be there
            without ``train``.
        notes: Messages for the user.
    """

    root: Path
    train: Path | None = None
    evaluation: Path | None = None
    notes: tuple[str, ...] = ()


def find_layout(root: Path) -> Layout:
    """Tell a dataset that is split from a folder of classes, by the names of its folders.

    A folder with the name of a split is one if it holds folders of images. If it holds images and
    stands beside class folders, it is a class.

    Raises:
        InputError: If the folder is missing, or it isn't clear which images are for what.
    """
    try:
        there = stat.S_ISDIR(root.stat().st_mode)
    except FileNotFoundError:
        there = False
    except OSError as error:
        problem = f"can't be read ({describe(error)})"
        raise InputError(problem, parameter="data", value=root) from error
    if not there:
        raise InputError("there is no such folder", parameter="data", value=root)
    folders = sorted(_subfolders(root))
    named = [folder for folder in folders if _role(folder) in (*TRAINING, *EVALUATION)]
    classes_beside = any(_holds_images(each) for each in folders if named and each not in named)
    splits = [
        folder
        for folder in named
        if _holds_folders(folder) and not (classes_beside and _holds_images(folder))
    ]
    others = [each for each in folders if named and each not in splits and _holds_any(each)]
    if not splits:
        if others and all(each in named for each in others):
            raise _refuse(root, "but no class folders in them", others)
        return Layout(root)
    train = [folder for folder in splits if _role(folder) in TRAINING]
    evaluation = sorted(
        (folder for folder in splits if folder not in train),
        key=lambda folder: EVALUATION.index(_role(folder)),
    )
    if len(train) > 1:
        raise _refuse(root, "and it isn't clear which one holds the training images", train)
    if not evaluation:
        problem = "and it isn't clear which images accuracy is to be measured on"
        advice = f"to use {train[0].name}/ alone, give {train[0]}"
        raise _refuse(root, problem, [*train, *others], advice)
    if others and not train:
        problem = "and it isn't clear which images are for what"
        advice = f"to use {evaluation[0].name}/ alone, give {evaluation[0]}"
        raise _refuse(root, problem, [*evaluation, *others], advice)
    notes = _left_alone(root, evaluation[0], [*evaluation[1:], *others])
    return Layout(root, train[0] if train else None, evaluation[0], notes)


def _role(folder: Path) -> str:
    return folder.name.casefold()


def _refuse(root: Path, problem: str, seen: list[Path], advice: str | None = None) -> InputError:
    return InputError(
        f"holds {_names(seen)}, {problem}",
        parameter="data",
        value=root,
        allowed=EXPECTED,
        advice=advice,
    )


def _left_alone(root: Path, used: Path, rest: list[Path]) -> tuple[str, ...]:
    if not rest:
        return ()
    return (f"accuracy is measured on {used.name}/ below {root}; left alone: {_names(rest)}",)


def _names(folders: list[Path]) -> str:
    names = [f"{escape_line(folder.name)}/" for folder in folders]
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


def _holds_any(folder: Path) -> bool:
    return _holds_images(folder) or _holds_folders(folder)


def _holds_images(folder: Path) -> bool:
    known = tuple(EXTENSIONS)
    return any(entry.name.lower().endswith(known) for entry in _entries(folder))


def _holds_folders(folder: Path, depth: int = DEPTH) -> bool:
    """Return whether there are images in the folders of a folder."""
    return depth > 1 and any(
        _holds_images(each) or _holds_folders(each, depth - 1) for each in _subfolders(folder)
    )


def _subfolders(folder: Path) -> Iterator[Path]:
    for entry in _entries(folder):
        if is_folder(entry):
            yield Path(entry.path)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name not in SYSTEM:
                    yield entry
    # What can't be read is told where the images are listed.
    except OSError:
        return
