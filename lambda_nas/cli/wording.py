"""Errors in the words of the command line: parameters are its flags, in its units."""

from collections.abc import Callable

from typer.core import TyperGroup

from lambda_nas.errors import Wording


def _in_points(fraction: str) -> str:
    return f"{round(100 * float(fraction), 6):g}"


_VALUES: dict[str, Callable[[str], str]] = {"max_drop": _in_points}
"""How the command line writes the values that it takes in other units than the functions."""


def wording(app: TyperGroup, invoked: str | None) -> Wording:
    """Return what users call a parameter: as the invoked command does, or else another.

    What no command takes, such as a key of a file, keeps its name.
    """
    commands = sorted(app.commands.items(), key=lambda item: item[0] == invoked)
    called = {
        parameter.name: parameter.name.upper()
        if parameter.param_type_name == "argument"
        else max(parameter.opts, key=len)
        for _, command in commands
        for parameter in command.params
        if parameter.name
    }

    def in_flags(name: str, value: str | None) -> str:
        shown = called.get(name, name)
        return shown if value is None else f"{shown} {_VALUES.get(name, str)(value)}"

    return in_flags
