import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from lambda_nas.exports.network import export_network
from lambda_nas.models.merging import Merging
from lambda_nas.token_merging.blocks import merge_tokens

FRESH = """
import sys
sys.modules.update(dict.fromkeys(["lambda_nas", "timm"]))  # As if they were not installed.
import torch
model = torch.export.load(sys.argv[1]).module()
batches = torch.load(sys.argv[2])
with torch.no_grad():
    torch.save([model(batch) for batch in batches], sys.argv[3])
"""


@pytest.fixture(scope="module")
def written(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("pt2") / "out"
    return export_network(pair.model, pair.config, removal=pair.removal, out=out, format="pt2")


@pytest.mark.full
def test_a_fresh_process_needs_nothing_but_torch(written, pair, tmp_path):
    assert sorted(path.name for path in written.iterdir()) == ["README.md", "model.pt2"]
    batches = [torch.randn(size, 3, 32, 32) for size in (1, 5)]
    torch.save(batches, tmp_path / "batches.pt")
    paths = [written / "model.pt2", tmp_path / "batches.pt", tmp_path / "logits.pt"]
    command = [sys.executable, "-c", FRESH, *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    logits = torch.load(tmp_path / "logits.pt")
    for batch, found in zip(batches, logits, strict=True):
        assert torch.allclose(found, pair.model(batch), atol=1e-5)


def test_what_is_in_the_file(written):
    program = torch.export.load(written / "model.pt2")
    attention = torch.ops.aten.scaled_dot_product_attention.default
    assert sum(node.target is attention for node in program.graph.nodes) == 2
    assert "blocks.0.attn.qkv.weight" not in program.state_dict
    assert "blocks.1.attn.qkv.weight" in program.state_dict
    assert str(Path(timm.__file__).parent).encode() not in (written / "model.pt2").read_bytes()


@pytest.mark.full
def test_merged_tokens(merging_pair, tmp_path):
    pair, merging = merging_pair, Merging(3, start=1)
    folder = export_network(
        pair.model,
        pair.config,
        removal=pair.removal,
        merging=merging,
        out=tmp_path / "out",
        format="pt2",
    )
    module = torch.export.load(folder / "model.pt2").module()
    for batch_size in (1, 5):
        images = torch.randn(batch_size, 3, 32, 32)
        expected = merge_tokens(pair.model, merging)(images)
        assert torch.allclose(module(images), expected, atol=1e-5)
        assert not torch.allclose(module(images), pair.model(images), atol=1e-3)
