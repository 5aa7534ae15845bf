"""The main job on real weights and real images: searched, exported, loaded in a fresh process."""

import json
import subprocess
import sys

import pytest

SPACE = "name: small\nremovable: [1, 4, 5]\nmax_removed: 2\n"
FRESH = """
import json, sys
from pathlib import Path
import lambda_nas, timm
from lambda_nas.training.evaluation import evaluate
from lambda_nas.data.image_folder import load_images

folder, data, class_map = sys.argv[1:]
model = timm.create_model("local-dir:" + folder, pretrained=True)
images = load_images(Path(data), model, class_map=Path(class_map)).evaluation
attentive = [index for index, block in enumerate(model.blocks) if hasattr(block, "attn")]
params = sum(parameter.numel() for parameter in model.parameters())
found = {"accuracy": evaluate(model, images).top1, "attentive": attentive, "params": params}
print(json.dumps(found))
"""


def run(*command, folder):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.real
@pytest.mark.full
def test_an_exported_deit_is_what_the_study_says(shared_data, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    data, class_map = tmp_path / "images", shared_data / "imagenet_synsets.txt"
    data.mkdir()
    for folder in sorted((shared_data / "imagenet500").iterdir())[::8]:
        (data / folder.name).symlink_to(folder.resolve())
    cli = ("-m", "lambda_nas")
    study = run(
        *(*cli, "search", "--model", f"local-dir:{shared_data / 'deit_tiny_patch16_224'}"),
        *("--data", data, "--class-map", class_map, "--space", "space.yaml"),
        *("--study", "deit", "--budget", "2", "--json"),
        folder=tmp_path,
    )
    assert study["baseline"]["accuracy"] == pytest.approx(26 / 32, abs=0.04)
    assert study["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    best = study["front"][-1]
    run(*cli, "export", "deit", "--trial", best["trial"], "--out", "out", "--json", folder=tmp_path)
    found = run("-c", FRESH, tmp_path / "out", data, class_map, folder=tmp_path)
    assert found["accuracy"] == pytest.approx(best["accuracy"], abs=0.002)
    assert found["attentive"] == [layer for layer in range(12) if layer not in best["removed"]]
    # A block's attention: 192 to 3 * 192 and 192 to 192 with biases, and a norm of 2 * 192.
    branch = 192 * 576 + 576 + 192 * 192 + 192 + 2 * 192
    assert found["params"] == best["params"] == 5_717_416 - len(best["removed"]) * branch
