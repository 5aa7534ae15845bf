"""The notebook of the documentation, run as a reader would, in a folder of its own."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
OUTPUT_BYTES = 4000


@pytest.fixture(scope="module")
def read():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(read, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.from_dict(json.loads(json.dumps(read)))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return folder, notebook


def outputs(notebook, *kinds):
    return [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type in kinds
    ]


@pytest.mark.full
def test_it_shows_front_plot_and_best(executed):
    _, notebook = executed
    data = [output.data for output in outputs(notebook, "execute_result", "display_data")]
    assert any("<table>" in found.get("text/html", "") for found in data)
    assert any("application/vnd.plotly.v1+json" in found for found in data)
    assert any(found.get("text/plain", "").startswith("((") for found in data)


@pytest.mark.full
def test_the_best_is_smaller_and_loads_the_same(executed):
    folder, notebook = executed
    printed = "".join(output.text for output in outputs(notebook, "stream"))
    original, pruned = (
        next(line for line in printed.splitlines() if line.startswith(name)).split()
        for name in ("original", "pruned")
    )
    assert original[1] == "1.00x"
    assert int(pruned[2]) < int(original[2])
    assert "same outputs: True" in printed
    assert (folder / "digits-exported" / "model.safetensors").is_file()


@pytest.mark.full
def test_progress_leaves_nothing_in_the_cell_and_dependencies_are_silent(executed):
    _, notebook = executed
    (cell,) = (cell for cell in notebook.cells if "lambda_nas.search(budget" in cell.source)
    shown, note, result = cell.outputs
    assert shown.data == {"text/plain": "", "text/html": ""}
    assert note.data["text/plain"].rstrip().endswith("images at 8 x 8")
    assert result.output_type == "execute_result"


def test_committed_outputs_are_few_and_small(read):
    kept = json.dumps(outputs(read, "execute_result", "display_data", "stream", "error"))
    assert len(kept) < OUTPUT_BYTES, "clear the figure's output: it is drawn by whoever runs it"
    assert not outputs(read, "error")
    assert "application/vnd" not in kept
