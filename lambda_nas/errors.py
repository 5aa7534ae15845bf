"""Every error that a user can cause, one base class, each also the builtin it refines."""


class LambdaNasError(Exception):
    """Base of all errors raised on purpose; the message says what is wrong and what to do."""

    exit_code = 1


class InputError(LambdaNasError, ValueError):
    """A value, file or folder given by the user can't be used."""

    exit_code = 2


class LayerIndexError(InputError, IndexError):
    """A layer index is outside the model, or names a layer that is not removable."""


class UnsupportedModelError(InputError, TypeError):
    """The model has no attention layer that this version can remove."""


class StorageError(LambdaNasError, OSError):
    """The study database can't be reached, read or written."""


class ConnectionLostError(StorageError, ConnectionError):
    """The database server is gone; it may come back."""


class ClusterError(LambdaNasError, ConnectionError):
    """The Ray cluster can't be reached or joined."""


class StudyMismatchError(InputError):
    """The study exists with another model or other data."""


class InfeasibleError(LambdaNasError):
    """No architecture satisfies the limits given."""


class ExportError(LambdaNasError, RuntimeError):
    """A network can't be written in a format, or what was written computes something else."""


class NonFiniteError(LambdaNasError, ArithmeticError):
    """A loss or metric became NaN or infinite."""


class TrialsFailedError(LambdaNasError, RuntimeError):
    """Trial after trial of a search failed."""
