"""Measure what removing attention saves in onnxruntime.

The ONNX files of the unpruned and the pruned model are timed in turn, together with the same two
networks in PyTorch. Speed depends on neither weights nor images, so nothing is repaired.

    python benchmarks/onnx_speed.py --model local-dir:../shared/data/deit_tiny_patch16_224 \
        --removed 0,2,4
"""

import argparse
import tempfile
from pathlib import Path

from torch import Tensor, nn

from lambda_nas.api.progress.shown import stage
from lambda_nas.cost.measurement import measure_prices
from lambda_nas.execution.progress import in_percent
from lambda_nas.exports.checks import sample_input
from lambda_nas.exports.onnx import load_onnx, write_onnx
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import build_for_pricing


class OnnxModel(nn.Module):
    """An ONNX file that is called like a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._run = load_onnx(path)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[batch, channels, height, width]`` to logits."""
        return self._run(images)


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    unpruned = build_for_pricing(options.model).eval()
    pruned = remove_attention(unpruned, options.removed).model
    with tempfile.TemporaryDirectory() as folder, stage("Measuring", 100) as advance:
        models = [
            _onnx(unpruned, Path(folder) / "unpruned.onnx"),
            _onnx(pruned, Path(folder) / "pruned.onnx"),
            unpruned,
            pruned,
        ]
        samples = [sample_input(unpruned, options.batch_size)] * len(models)
        prices = measure_prices(models, samples, on_step=in_percent(advance))
    print(f"{options.model}, {options.removed} removed, batch size {options.batch_size}\n")
    print("| images/s | unpruned | pruned | ratio |\n|---|---|---|---|")
    for name, (before, after) in {"onnxruntime": prices[:2], "PyTorch": prices[2:]}.items():
        ratio = after.speedup / before.speedup
        print(f"| {name} | {before.throughput:.1f} | {after.throughput:.1f} | {ratio:.2f}x |")


def _onnx(model: nn.Module, path: Path) -> OnnxModel:
    write_onnx(model, path)
    return OnnxModel(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--removed", type=RemovalSet.parse, default="0,2,4")
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args()


if __name__ == "__main__":
    main()
