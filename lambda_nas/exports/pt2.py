"""Writes ``torch.export`` files, which hold a graph and its weights and need only PyTorch."""

from pathlib import Path

import torch
from torch import nn

from lambda_nas.exports.checks import TRACED_BATCH, check_outputs, exporting, sample_input


def write_pt2(model: nn.Module, path: Path) -> None:
    """Write a program for any batch size, and compare it with the model.

    ``torch.export.load(path).module()`` maps images ``[batch, channels, height, width]`` to logits
    ``[batch, classes]``.

    Args:
        model: The model, in eval mode on the CPU.
        path: The file to write.

    Raises:
        ExportError: If the model can't be exported or the file's outputs differ.
    """
    # torch 2.6 and 2.7 refuse a batch size without an upper bound.
    batch = torch.export.Dim("batch", max=2**31 - 1)
    with exporting("a pt2 file"):
        sample = sample_input(model, TRACED_BATCH)
        program = torch.export.export(model, (sample,), dynamic_shapes=({0: batch},))
        for node in program.graph.nodes:
            # Don't publish the paths of this machine.
            node.meta.pop("stack_trace", None)
        torch.export.save(program, path)
        check_outputs(model, torch.export.load(path).module(), what="the pt2 file")
