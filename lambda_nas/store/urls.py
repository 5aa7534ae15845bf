"""Database URLs: which one is meant, and how it is shown and stored without its secrets."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lambda_nas.errors import InputError
from lambda_nas.store import DEFAULT_STORAGE, VARIABLE
from lambda_nas.store.sqlite import sqlite_file

MASK = "***"
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
_URL = re.compile(
    rf"""(?<=')(?:{_SCHEME.pattern})[^']*(?=')|(?<=")(?:{_SCHEME.pattern})[^"]*(?=")"""
    rf"""|(?:{_SCHEME.pattern})[^\s'"]*"""
)
# As SQLAlchemy takes a URL apart.
_AFTER_USER = re.compile(r"^[\w+]+://([^:/]*(:[^@]*)?@)?")
# What names a file, such as `passfile` and `sslkey`, is no secret.
_SECRET_NAME = re.compile(r"pass(?!file)|pwd|secret|token|credential|(?<!ssl)(?<!ssl[-_])key", re.I)
# A connection string in the query, such as ODBC's.
_SECRET_VALUE = re.compile(r"(pass\w*|pwd|secret|token)\s*=|://[^/@]*:[^@]*@", re.I)


def storage_url(given: str | None) -> str:
    """Return the URL given, or else that of the environment, or else that of the default."""
    return given if given is not None else os.environ.get(VARIABLE) or DEFAULT_STORAGE


def parse_url(text: str) -> URL:
    """Parse an SQLAlchemy URL.

    Raises:
        InputError: If it can't be understood, or a part of a password may have been taken for a
            host or another part.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    rest = _AFTER_USER.sub("", text)
    if url is None or ("@" in rest and not rest.startswith("/")):
        # Not chained: the cause would show the password.
        raise InputError(
            "not a database URL",
            parameter="storage",
            value=_scheme_alone(text),
            allowed="for example sqlite:///studies/lambda_nas.db or "
            "postgresql+psycopg://user@host/name",
            advice="in a name or password write @ as %40, / as %2F and : as %3A",
        )
    return url


def weights_root(url: URL) -> Path:
    """Return where weights lie by default: beside an SQLite file, else below the working directory.

    A server has several names, so only the database's counts; studies are told apart by their ids.
    """
    file = sqlite_file(url)
    if file is not None:
        file = file.resolve()
        return file.with_name(f"{file.name}-weights")
    digest = hashlib.sha256((url.database or "").encode()).hexdigest()
    return Path("studies", "weights", digest[:12])


def shown_url(url: str | URL) -> str:
    """Return a database URL as it may be shown and stored: its secrets are masked.

    Of a URL that can't be parsed, or whose parts can't be told apart, only the scheme is shown.

    >>> shown_url("postgresql+psycopg://me:secret@host/x?sslpassword=other")
    'postgresql+psycopg://me:***@host/x?sslpassword=***'
    >>> shown_url("mysql://me:p@ss/word@host/x")
    'mysql://***'
    """
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    try:
        parsed = parse_url(text)
    except InputError:
        return _scheme_alone(text)
    masked = dict.fromkeys(_secret_options(parsed), MASK)
    if parsed.password is None and not masked:
        return text
    shown = parsed.update_query_dict(masked).render_as_string(hide_password=True)
    return shown.replace(quote_plus(MASK), MASK)


def has_secret(url: str | URL) -> bool:
    """Return whether a database URL must not be shown as it is."""
    return shown_url(url) != (url if isinstance(url, str) else url.render_as_string(False))


def shown_command(command: str) -> str:
    """Mask the secrets of URLs in a command line or a call.

    >>> shown_command("lambda-nas search --storage='mysql://me:a b@host/x' --budget 3")
    "lambda-nas search --storage='mysql://me:***@host/x' --budget 3"
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    for word in words:
        if found := _SCHEME.search(word):
            shown = word[: found.start()] + shown_url(word[found.start() :])
            command = command.replace(shlex.quote(word), shlex.quote(shown))
    # What is quoted in another way, such as in a call.
    return _URL.sub(lambda found: shown_url(found[0]), command)


def driver_reason(error: BaseException, url: URL) -> str:
    """Return the first line of what a driver says, without the database's secrets."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text


def shown_cause(error: BaseException, url: URL) -> BaseException | None:
    """Return what to chain an error of ours to: a traceback shows the cause with all it says."""
    return None if has_secret(url) else error


def _secrets(url: URL) -> Iterator[str]:
    """Yield the secrets of a URL in all the ways that they may be written."""
    options = (url.normalized_query[name] for name in _secret_options(url))
    for secret in filter(None, [url.password, *(value for values in options for value in values)]):
        plain = str(secret)
        yield from {plain, quote(plain), quote_plus(plain), repr(plain)[1:-1]}


def _secret_options(url: URL) -> list[str]:
    return [
        name
        for name, values in url.normalized_query.items()
        if _SECRET_NAME.search(name) or any(map(_SECRET_VALUE.search, values))
    ]


def _scheme_alone(text: str) -> str:
    found = _SCHEME.match(text)
    if found:
        return found[0] + MASK
    # A path that was given for a URL has no secret.
    return text if re.fullmatch(r"[\w./\\ ~-]*", text) else MASK
