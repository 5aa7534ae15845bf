"""Helpers of the graph exporters: a sample input, quiet exporting, a check of the outputs."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch
from timm.models import get_model_input_config
from torch import Tensor, nn

from lambda_nas.errors import ExportError, LambdaNasError

TRACED_BATCH = 2
"""A graph traced with a batch of one may drop the batch axis."""

CHECKED_BATCHES = (1, 3)
TOLERANCE = 1e-4


def sample_input(model: nn.Module, batch_size: int) -> Tensor:
    """Return random images ``[batch, channels, height, width]`` of the model's size."""
    shape = get_model_input_config(model)["input_size"]
    return torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(batch_size))


@torch.no_grad()
def check_outputs(model: nn.Module, run: Callable[[Tensor], Tensor], *, what: str) -> None:
    """Compare the outputs of an export with the model's, at two batch sizes.

    Args:
        model: The model, in eval mode on the CPU.
        run: Runs the export: maps images ``[batch, channels, height, width]`` to
            ``[batch, classes]``.
        what: Name of the export, for the error message.

    Raises:
        ExportError: If an output differs by ``TOLERANCE`` or more.
    """
    for batch_size in CHECKED_BATCHES:
        images = sample_input(model, batch_size)
        difference = (run(images) - model(images)).abs().max().item()
        # This is also true for NaN.
        if not difference < TOLERANCE:
            raise ExportError(
                f"the outputs of {what} differ from the network's by {difference:.2g} at batch "
                f"size {batch_size}, where less than {TOLERANCE:g} is allowed; "
                "nothing was written"
            )


@contextmanager
def exporting(what: str) -> Iterator[None]:
    """Suppress an exporter's warnings, logs and prints, and translate its errors.

    Raises:
        ExportError: If the exporter fails.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            # torch.export prints the graph so far when it fails.
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except (LambdaNasError, OSError):
        raise
    # Tracers, converters and runtimes have no error base in common.
    except Exception as error:
        # torch.onnx reports the failing step, with the reason as its cause.
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ExportError(f"can't write {what} of this network ({reason})") from error
    finally:
        logging.disable(before)
