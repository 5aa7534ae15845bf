"""Formats numbers, names and commands for reports, figures and notes."""

import re
import shlex

from lambda_nas.data.files import escape_line
from lambda_nas.models.architecture import Architecture
from lambda_nas.store import DEFAULT_STORAGE, VARIABLE
from lambda_nas.store.urls import has_secret, storage_url

NAME_LENGTH = 32


def duration(seconds: float) -> str:
    """Return seconds in the units that people use.

    >>> duration(0.42), duration(75), duration(3600), duration(90061)
    ('0.4 s', '1 min 15 s', '1 h', '25 h 1 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    big, small, units = (whole // 60, whole % 60, ("min", "s"))
    if whole >= 3600:
        big, small, units = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    return f"{big} {units[0]}" + (f" {small} {units[1]}" if small else "")


def percent(fraction: float) -> str:
    """Return an accuracy in percent.

    >>> percent(0.9611)
    '96.11%'
    """
    return f"{100 * fraction:.2f}%"


def megabytes(count: float) -> str:
    """Return bytes in megabytes of a million bytes.

    >>> megabytes(2_350_000)
    '2.4 MB'
    """
    return f"{count / 1e6:.1f} MB"


def counted(number: int, noun: str) -> str:
    """Return a number and a regular noun in singular or plural.

    >>> counted(1, "epoch"), counted(2, "epoch")
    ('1 epoch', '2 epochs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short_architecture(architecture: Architecture) -> str:
    """Return an architecture in short, with three or more consecutive layers as a range.

    >>> short_architecture(Architecture.of([0, 2, 3, 5, 6, 7, 8]))
    '{0,2,3,5–8}'
    >>> short_architecture(Architecture.parse("0 r=8 start=3"))
    '{0} r8 from 3'
    """
    runs: list[list[int]] = []
    for layer in architecture.removal:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    merging = f" r{architecture.merging.r}" if architecture.merging else ""
    start = f" from {architecture.merging.start}" if architecture.merging.start else ""
    return "{" + ",".join(parts) + "}" + merging + start


def describe(architecture: Architecture) -> str:
    """Return in words how an architecture differs from the unpruned model.

    >>> describe(Architecture.parse("0,2 r=8 start=0"))
    '{0,2} removed, merging 8 from block 0'
    """
    merging = f", {architecture.merging}" if architecture.merging else ""
    return f"{architecture.removal} removed{merging}"


def short_name(name: str) -> str:
    """Return the last part of a model's or a folder's name.

    >>> short_name("local-dir:../shared/data/deit_tiny/"), short_name("digits")
    ('deit_tiny', 'digits')
    """
    last = re.split(r"[:/\\]", name.rstrip("/\\"))[-1] or name
    return last if len(last) <= NAME_LENGTH else last[: NAME_LENGTH - 1] + "…"


def printable(text: str) -> str:
    r"""Write what no terminal should be sent as escapes; lines stay lines.

    >>> printable("a\x1b[31m\u202eb")
    'a\\x1b[31m\\u202eb'
    """
    return "\n".join(map(escape_line, text.split("\n")))


def command(verb: str, study: str | None, *options: object, storage: str | None = None) -> str:
    """Return a ``lambda-nas`` command line, ready to paste where ``storage_hint`` is followed.

    Args:
        verb: The command.
        study: Name of the study, if the command takes one.
        options: Further arguments.
        storage: URL of the database; ``None`` for the one that is taken where none is given. One
            with a password is left out.

    >>> command("export", "my study", "--trial", 3)
    "lambda-nas export 'my study' --trial 3"
    >>> command("show", "-x", storage="sqlite:///a.db")
    'lambda-nas show --storage sqlite:///a.db -- -x'
    """
    # The environment may name another one than the default.
    is_default = storage == DEFAULT_STORAGE == storage_url(None)
    is_left_out = storage is None or is_default or has_secret(storage)
    words = [*map(str, options), *([] if is_left_out else ["--storage", str(storage)])]
    if study is not None:
        words = [*words, "--", study] if study.startswith("-") else [study, *words]
    return shlex.join(["lambda-nas", verb, *words])


def storage_hint(storage: str | None) -> str:
    """Return what to do before the commands for a database whose URL holds a password."""
    if storage is None or not has_secret(storage):
        return ""
    return f"set {VARIABLE} to the URL of the database first; it holds a password, not shown here"


def export_command(study: str, trial: int, storage: str | None) -> str:
    """Return the command that exports a trial of the front.

    >>> export_command("vit-images", 3, None)
    'lambda-nas export vit-images --trial 3 --out vit-images-trial-3'
    """
    # A study's name may contain characters that a folder's may not.
    folder = re.sub(r"[^\w.-]+", "-", study).strip("-.") or "exported"
    return command(
        "export", study, "--trial", trial, "--out", f"{folder}-trial-{trial}", storage=storage
    )
