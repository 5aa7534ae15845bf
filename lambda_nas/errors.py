"""Every error that a user can cause: one base class, each error also the builtin it refines.

An error carries fields, not the words of one reader. Texts name parameters of the Python functions
in backticks, such as `max_drop`, or with a value, such as `max_drop=0.02`: Python shows them as
``max_drop`` and ``max_drop 0.02``, the command line as ``--max-drop`` and ``--max-drop 2``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")

Wording = Callable[[str, str | None], str]
"""Returns what a reader calls a parameter, followed by its value if there is one."""


def in_python(name: str, value: str | None) -> str:
    """Word a parameter for those who call functions."""
    return name if value is None else f"{name} {value}"


class LambdaNasError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: What is wrong, without a full stop.
        parameter: The parameter that was given, as the Python functions name it.
        value: What was given for it.
        allowed: What may be given instead.
        advice: What to do about it.

    Examples:
        >>> error = InputError("must be at least 1", parameter="workers", value=0)
        >>> str(error)
        'workers 0: must be at least 1'
        >>> error.worded(lambda name, value: f"--{name} {value}")
        '--workers 0: must be at least 1'
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        parameter: str | None = None,
        value: object = None,
        allowed: str | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.parameter = parameter
        self.value = value
        self.allowed = allowed
        self.advice = advice

    def worded(self, wording: Wording) -> str:
        """Return the whole message in a reader's words."""
        text = self.problem
        if self.allowed is not None:
            text += f"; expected {self.allowed}"
        if self.advice is not None:
            text += f": {self.advice}"
        text = _PARAMETER.sub(lambda found: wording(found[1], found[2]), text)
        if self.parameter is None:
            return text
        # Not written into the text before: a value may hold backticks. It stays in one line.
        value = None if self.value is None else str(self.value).replace("\n", "\\n")
        given = wording(self.parameter, value)
        return f"{given}: {text}"

    def __str__(self) -> str:
        return self.worded(in_python)


class ProblemsError(LambdaNasError, ValueError):
    """Several things are wrong at once; each is said in a line of its own.

    Attributes:
        errors: What is wrong.
    """

    def __init__(self, errors: Sequence[LambdaNasError]) -> None:
        super().__init__(f"{len(errors)} problems")
        self.errors = tuple(errors)
        # What the user gave comes first: a failure may be its consequence.
        self.exit_code = max(error.exit_code for error in errors)

    def worded(self, wording: Wording) -> str:
        """Return all messages in a reader's words."""
        lines = (f"\n- {error.worded(wording)}" for error in self.errors)
        return f"{self.problem}:{''.join(lines)}"


class Problems:
    """Collects the errors of independent checks, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self._found: list[LambdaNasError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep an error that the block raises."""
        try:
            yield
        except LambdaNasError as error:
            # Two checks may stumble over the same thing.
            if str(error) not in map(str, self._found):
                self._found.append(error)

    def report(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            LambdaNasError: The error, if there is one only.
            ProblemsError: If there are more.
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise ProblemsError(self._found)


class InputError(LambdaNasError, ValueError):
    """A value, file or folder given by the user can't be used."""

    exit_code = 2


class LayerIndexError(InputError, IndexError):
    """A layer index is outside the model, or names a layer that is not removable."""


class UnsupportedModelError(InputError, TypeError):
    """The model has no attention layer that this version can remove."""


class StorageError(LambdaNasError, OSError):
    """The study database or a checkpoint can't be reached, read or written."""


class ConnectionLostError(StorageError, ConnectionError):
    """The database server is gone; it may come back."""


class ClusterError(LambdaNasError, ConnectionError):
    """The Ray cluster can't be reached or joined."""


class StudyMismatchError(InputError):
    """The study exists with another model or other data."""


class InfeasibleError(LambdaNasError, ValueError):
    """No architecture satisfies the constraints given."""


class ExportError(LambdaNasError, RuntimeError):
    """A network can't be written in a format, or what was written computes something else."""


class NonFiniteError(LambdaNasError, ArithmeticError):
    """A loss or metric became NaN or infinite."""


class TrialsFailedError(LambdaNasError, RuntimeError):
    """Trial after trial of a search failed."""
