"""``--quiet`` and ``--verbose``: how much every command tells on stderr."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Annotated

import typer

# Progress reads the level of this logger, when called from Python, too.
logger = logging.getLogger("lambda_nas")

_OPTIONS = {
    "quiet": Annotated[
        bool, typer.Option("--quiet", help="Tell only the result and what went wrong.")
    ],
    "verbose": Annotated[
        bool, typer.Option("--verbose", help="Tell settings, versions and rejected proposals too.")
    ],
}


def with_loudness(command: Callable[..., object], *, tells: bool = True) -> Callable[..., object]:
    """Return a command that takes ``--quiet`` and ``--verbose`` as well.

    Args:
        command: The command.
        tells: Whether ``--verbose`` prints its options and the versions of the libraries first.
    """

    @functools.wraps(command)
    def call(*, quiet: bool, verbose: bool, **options: object) -> object:
        _set_level(quiet=quiet, verbose=verbose)
        if tells and logger.level == logging.DEBUG:
            _tell(options)
        return command(**options)

    signature = inspect.signature(command)
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
        )
        for name, annotation in _OPTIONS.items()
    ]
    parameters = [*signature.parameters.values(), *added]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = command.__annotations__ | _OPTIONS
    return call


def _set_level(*, quiet: bool, verbose: bool) -> None:
    level = logging.WARNING if quiet else logging.DEBUG
    if (quiet and verbose) or ((quiet or verbose) and logger.level not in (logging.NOTSET, level)):
        raise typer.BadParameter("give --quiet or --verbose, not both")
    if quiet or verbose:
        logger.setLevel(level)


def _tell(options: dict[str, object]) -> None:
    from lambda_nas.records.run import versions
    from lambda_nas.reporting.formatting import printable
    from lambda_nas.store.urls import shown_url

    storage = options.get("storage")
    shown = options | ({"storage": shown_url(str(storage))} if storage else {})
    given = ", ".join(f"{name}={value}" for name, value in shown.items())
    typer.echo(f"options: {printable(given)}", err=True)
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    typer.echo(f"versions: {found}", err=True)
