"""Writes and runs ONNX files."""

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
"""Maximum bytes of weights inside the file, which protobuf limits to 2 GiB; larger weights go to
``model.onnx.data``."""

ERRORS_ONLY = 3


def check_installed() -> None:
    """Raise ``InputError`` if a package that writes or runs ONNX is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"needs {' and '.join(missing)}",
            parameter="format",
            value="onnx",
            advice="pip install 'lambda-nas[onnx]'",
        )


def write_onnx(model: nn.Module, path: Path) -> None:
    """Write an ONNX graph for any batch size, and compare it with the model in onnxruntime.

    It maps ``images`` ``[batch, channels, height, width]`` to ``logits`` ``[batch, classes]``.

    Args:
        model: The model, in eval mode on the CPU.
        path: The file to write.

    Raises:
        ExportError: If the model can't be exported or the file's outputs differ.
    """
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    with exporting("ONNX"):
        program = torch.onnx.export(
            model,
            (sample_input(model, TRACED_BATCH),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", max=2**31 - 1)},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            # Don't publish the paths of this machine.
            node.metadata_props.clear()
        program.save(path, external_data=weights > LARGEST_FILE)
        check_outputs(model, load_onnx(path), what="the ONNX file")


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a file of ``write_onnx`` in onnxruntime.

    It runs on the CPU, with as many threads as PyTorch uses at the time of this call.
    """
    # onnxruntime is optional.
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would slow down PyTorch or other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return run
