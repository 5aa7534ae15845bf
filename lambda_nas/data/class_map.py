"""Reads a class map: a text file of class names in the order of the head's outputs."""

from collections import Counter
from pathlib import Path

from lambda_nas.data.files import name_some
from lambda_nas.errors import InputError


def read_class_map(path: Path) -> tuple[str, ...]:
    """Return the names of a file with one name per line, timm's form of a class map.

    Raises:
        InputError: If the file can't be read, is empty, or has blank lines or a name twice.
    """
    # timm would also unpickle, which runs code in the file.
    if path.suffix.lower() != ".txt":
        raise InputError(
            "not a .txt file",
            parameter="class_map",
            value=path,
            allowed="a .txt file with one class name per line",
        )
    try:
        if not path.is_file():
            raise InputError("there is no such file", parameter="class_map", value=path)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't be read ({error})", parameter="class_map", value=path) from error
    # The end of the last line, and blank lines after it, are no names.
    names = [line.strip() for line in text.rstrip().split("\n")]
    blank = [str(number) for number, name in enumerate(names, 1) if not name]
    double = [name for name, count in Counter(names).items() if name and count > 1]
    problems = [
        *(["names no class"] if names == [""] else []),
        *([f"blank lines: {name_some(blank)}"] if blank and names != [""] else []),
        *([f"named more than once: {name_some([*map(repr, double)])}"] if double else []),
    ]
    if problems:
        raise InputError(
            "; ".join(problems),
            parameter="class_map",
            value=path,
            allowed="each output's class once, one per line",
        )
    return tuple(names)
