"""Writes names and texts into Markdown so that nothing in them is Markdown or HTML."""

import re

from lambda_nas.reporting.formatting import printable

# An underscore within a word is only that.
_MARKS = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")


def code(text: str) -> str:
    """Return a name or a command as code.

    >>> print(code("vit"), code("a `b` c"))
    `vit` `` a `b` c ``
    """
    text = printable(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def escaped(text: str) -> str:
    r"""Return a text as it reads.

    >>> print(escaped("my_images <b> *x* (30 images)"))
    my_images \<b\> \*x\* (30 images)
    """
    return _MARKS.sub(lambda found: f"\\{found[0]}", printable(" ".join(text.split())))
