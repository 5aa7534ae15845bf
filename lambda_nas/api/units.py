"""Budgets and sizes as people write them."""

import re

from lambda_nas.errors import InputError
from lambda_nas.execution.settings import Budget

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_budget(text: str) -> Budget:
    """Read ``40`` (evaluated trials) or ``90s``, ``30m``, ``2h`` (wall time).

    Raises:
        InputError: If it is neither, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match and float(match[1]) > 0:
        return Budget(seconds=float(match[1]) * _SECONDS[match[2]])
    if text.isascii() and text.isdigit() and int(text) > 0:
        return Budget(trials=int(text))
    raise InputError(
        f"--budget {text}: expected a number of trials above 0, such as 40, or a time such as "
        "90s, 30m or 2h"
    )


def parse_bytes(text: str | None) -> int | None:
    """Read a size such as ``300MB``, ``1.5GiB`` or ``200000000``, in bytes.

    Raises:
        InputError: If it is no size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kmg]i?)b?", text.lower())
    if not match:
        raise InputError(f"--max-memory {text}: expected a size such as 300MB or 1.5GiB")
    return int(float(match[1]) * _BYTES[match[2]])
