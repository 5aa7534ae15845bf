"""Messages of the library, which name options of the command line, for those who call functions."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lambda_nas.errors import LambdaNasError


@contextmanager
def in_python_words() -> Iterator[None]:
    """Have errors name options as keywords of the Python functions: ``max_drop``, in fractions."""
    try:
        yield
    except LambdaNasError as error:
        text = re.sub(r"--max-drop (-?[\d.]+)", _drop_as_fraction, str(error))
        text = re.sub(r"(?<![\w-])--([a-z][a-z-]*)", lambda m: m[1].replace("-", "_"), text)
        error.args = (text,)
        raise


def _drop_as_fraction(match: re.Match[str]) -> str:
    return f"max_drop {float(match[1]) / 100:.6g}"
