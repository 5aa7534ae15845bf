import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest
import timm
import torch

from lambda_nas.errors import InputError
from lambda_nas.exports import onnx as exporter
from lambda_nas.exports.network import export_network
from lambda_nas.exports.onnx import load_onnx, write_onnx
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.folding import fold


@pytest.fixture(scope="module")
def written(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx") / "out"
    return export_network(pair.model, pair.config, removal=pair.removal, out=out, format="onnx")


def nodes(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_file_gives_the_same_logits_at_any_batch_size(written, pair, batch_size):
    assert sorted(path.name for path in written.iterdir()) == ["README.md", "model.onnx"]
    images = torch.randn(batch_size, 3, 32, 32)
    logits = load_onnx(written / "model.onnx")(images)
    assert logits.shape == (batch_size, 7)
    assert torch.allclose(logits, pair.model(images), atol=1e-4)


def test_the_removed_attention_is_gone_from_the_graph(written, pair, tmp_path):
    write_onnx(pair.base, tmp_path / "base.onnx")
    base, pruned = nodes(tmp_path / "base.onnx"), nodes(written / "model.onnx")
    removed = len(pair.removal)
    assert (base["Softmax"], pruned["Softmax"]) == (4, 4 - removed)
    # Queries, keys and values; their product; the values' sum; the projection.
    assert base["MatMul"] - pruned["MatMul"] == 4 * removed
    assert base["LayerNormalization"] - pruned["LayerNormalization"] == removed


def test_what_the_file_says_of_itself(written):
    graph = onnx.load(written / "model.onnx").graph
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"images": ["batch", 3, 32, 32], "logits": ["batch", 7]}
    assert str(Path(timm.__file__).parent).encode() not in (written / "model.onnx").read_bytes()


@pytest.mark.full
def test_doubled_and_distilled_networks(make_pair, tmp_path):
    distilled = make_pair("deit_tiny_distilled_patch16_224")
    doubled = distilled.removal
    model = fold(distilled.model, doubled)
    folder = export_network(
        model,
        distilled.config,
        removal=distilled.removal,
        doubled=doubled,
        out=tmp_path / "out",
        format="onnx",
    )
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(load_onnx(folder / "model.onnx")(images), model(images), atol=1e-4)


@pytest.mark.full
def test_merged_tokens(merging_pair, tmp_path):
    pair, merging = merging_pair, Merging(3, start=1)
    folder = export_network(
        pair.model,
        pair.config,
        removal=pair.removal,
        merging=merging,
        out=tmp_path / "out",
        format="onnx",
    )
    run = load_onnx(folder / "model.onnx")
    for batch_size in (1, 5):
        images = torch.randn(batch_size, 3, 32, 32)
        expected = merge_tokens(pair.model, merging)(images)
        assert torch.allclose(run(images), expected, atol=1e-4)
        assert not torch.allclose(run(images), pair.model(images), atol=1e-3)


@pytest.mark.full
def test_weights_beyond_protobuf_go_to_a_file_of_their_own(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "LARGEST_FILE", 1000)
    write_onnx(pair.model, tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    images = torch.randn(2, 3, 32, 32)
    logits = load_onnx(tmp_path / "model.onnx")(images)
    assert torch.allclose(logits, pair.model(images), atol=1e-4)


def test_missing_packages_are_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = r"needs onnxscript and onnxruntime: pip install 'lambda-nas\[onnx\]'"
    with pytest.raises(InputError, match=message):
        export_network(None, None, removal=RemovalSet(), out=tmp_path / "out", format="onnx")
    assert list(tmp_path.iterdir()) == []
