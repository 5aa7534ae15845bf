"""ONNX files."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lambda_nas.errors import InputError
from lambda_nas.exports.checks import TRACED_BATCH, check_outputs, exporting, sample_input

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

LARGEST_FILE = 2_000_000_000
"""Bytes of weights; protobuf ends at 2 GiB, so larger ones go to ``model.onnx.data``."""

ERRORS_ONLY = 3


def check_installed() -> None:
    """Raise ``InputError`` if a package that writes or runs ONNX is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"`format=onnx` needs {' and '.join(missing)}", advice="pip install 'lambda-nas[onnx]'"
        )


def write_onnx(model: nn.Module, path: Path) -> None:
    """Write a graph of any batch size, and compare it with the model in onnxruntime.

    It maps ``images`` ``[batch, channels, height, width]`` to ``logits`` ``[batch, classes]``.

    Args:
        model: In eval mode on the CPU.
        path: The file to write.

    Raises:
        ExportError: If the model can't be exported or the file gives other outputs.
    """
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    with exporting("ONNX"):
        program = torch.onnx.export(
            model,
            (sample_input(model, TRACED_BATCH),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            # Where the code lies on this machine is nobody else's business.
            node.metadata_props.clear()
        program.save(path, external_data=weights > LARGEST_FILE)
        check_outputs(model, load_onnx(path), what="the ONNX file")


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a file of ``write_onnx`` in onnxruntime.

    It runs on the CPU, with as many threads as PyTorch takes at the time of this call.
    """
    # An optional package.
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning would slow down what runs after it, PyTorch or another file.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return run
