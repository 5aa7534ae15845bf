"""What the exporters of graphs share: their input, their silence, and the check of their output."""

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
"""Graphs of a batch of one may treat the batch axis as if it were not there."""

CHECKED_BATCHES = (1, 3)
TOLERANCE = 1e-4


def sample_input(model: nn.Module, batch_size: int) -> Tensor:
    """Return random images ``[batch, channels, height, width]`` of the model's size."""
    shape = get_model_input_config(model)["input_size"]
    return torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(batch_size))


@torch.no_grad()
def check_outputs(model: nn.Module, run: Callable[[Tensor], Tensor], *, what: str) -> None:
    """Compare what was written with the model, at two batch sizes.

    Args:
        model: In eval mode on the CPU.
        run: Maps images ``[batch, channels, height, width]`` to ``[batch, classes]``.
        what: Was written.

    Raises:
        ExportError: If an output differs by ``TOLERANCE`` or more.
    """
    for batch_size in CHECKED_BATCHES:
        images = sample_input(model, batch_size)
        difference = (run(images) - model(images)).abs().max().item()
        # NaN is no agreement either.
        if not difference < TOLERANCE:
            raise ExportError(
                f"{what} gives other outputs than the network: they differ by {difference:.2g} "
                f"at batch size {batch_size}, where less than {TOLERANCE:g} is allowed; "
                "nothing was written"
            )


@contextmanager
def exporting(what: str) -> Iterator[None]:
    """Keep an exporter's warnings, log and prints off the screen, and translate what it raises.

    Raises:
        ExportError: If the exporter fails.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            # A failing torch.export prints the graph that it has so far.
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except (LambdaNasError, OSError):
        raise
    # Tracers, translators and runtimes have no error base in common.
    except Exception as error:
        # torch.onnx says at which of its steps, and hangs the reason behind it.
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ExportError(f"can't write {what} of this network ({reason})") from error
    finally:
        logging.disable(before)
