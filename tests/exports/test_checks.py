"""What is checked of every graph before it appears."""

import pytest
import torch

from lambda_nas.errors import ExportError
from lambda_nas.exports import checks
from lambda_nas.exports.network import export_network
from lambda_nas.exports.onnx import write_onnx
from lambda_nas.exports.pt2 import write_pt2


@pytest.mark.parametrize(
    ("format", "what"),
    [pytest.param("onnx", "the ONNX file", marks=pytest.mark.full), ("pt2", "the pt2 file")],
)
def test_other_outputs_leave_nothing_behind(pair, tmp_path, monkeypatch, format, what):
    monkeypatch.setattr(checks, "TOLERANCE", 0.0)
    message = rf"the outputs of {what} differ from the network.* at batch size 1,"
    with pytest.raises(ExportError, match=message):
        export_network(
            pair.model, pair.config, removal=pair.removal, out=tmp_path / "out", format=format
        )
    assert list(tmp_path.iterdir()) == []


class Fickle(torch.nn.Module):
    """A network whose path depends on its input: no graph holds it."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("write", "what"), [(write_onnx, "ONNX"), (write_pt2, "a pt2 file")])
def test_a_network_that_cannot_be_translated(tmp_path, capfd, write, what):
    message = rf"^can't write {what} of this network \(Could not guard on data-"
    with pytest.raises(ExportError, match=message):
        write(Fickle(), tmp_path / "model")
    assert capfd.readouterr() == ("", "")
