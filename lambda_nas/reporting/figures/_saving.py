"""Writes figures to files."""

from pathlib import Path

import plotly.graph_objects as go

from lambda_nas.errors import InputError
from lambda_nas.execution.places import check_file

SUFFIXES = (".html", ".png", ".svg")


def check_target(path: Path, *, parameter: str) -> None:
    """Check that a figure can be saved in a file, before it is computed.

    Raises:
        InputError: If the suffix is unknown, or the file can't be written.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"the name must end in {', '.join(SUFFIXES)}", parameter=parameter, value=path
        )
    check_file(path, parameter=parameter)


def save(figure: go.Figure, path: Path, *, parameter: str = "path") -> None:
    """Write a figure as a self-contained page, or as an image through Kaleido and Chrome.

    Args:
        figure: The figure.
        path: The file to write.
        parameter: What the caller took the path as, for the errors.

    Raises:
        InputError: If the suffix is unknown, the folder is missing, or no image can be made.
    """
    check_target(path, parameter=parameter)
    try:
        if path.suffix == ".html":
            figure.write_html(path, include_plotlyjs=True)
        else:
            # A transparent image would be unreadable on a dark background.
            paper = go.Figure(figure).update_layout(paper_bgcolor="white")
            paper.write_image(path, width=900, height=figure.layout.height or 620, scale=2)
    except OSError as error:
        raise InputError(f"can't be written ({error})", parameter=parameter, value=path) from error
    except (ValueError, RuntimeError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"no image can be made ({reason})",
            parameter=parameter,
            value=path,
            advice="pip install kaleido, and Chrome or Chromium; .html needs neither",
        ) from error
