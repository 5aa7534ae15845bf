"""timm's own scripts take an export.

They are in timm's repository, neither in its wheel nor in its source distribution:
``LAMBDA_NAS_TEST_TIMM`` names a checkout.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_nas.exports.network import export_network

TIMM = "LAMBDA_NAS_TEST_TIMM"
OURS = "import lambda_nas, runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"


@pytest.fixture(scope="module")
def scripts():
    if TIMM not in os.environ:
        pytest.skip(f"{TIMM} names no checkout of timm's repository")
    return Path(os.environ[TIMM])


@pytest.fixture(scope="module", params=[False, True], ids=["pruned", "plain"])
def exported(request, pair, scripts, tmp_path_factory):
    out = tmp_path_factory.mktemp("timm") / "out"
    plain = request.param
    export_network(pair.model, pair.config, removal=pair.removal, out=out, plain=plain)
    return out, [] if plain else ["-c", OURS]


def run(script, *args, ours):
    command = [sys.executable, *ours, script, *map(str, args), "--device", "cpu", "-b", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("--result")[2])


def test_validate(scripts, exported, images, top1, pair):
    folder, ours = exported
    found = run(
        scripts / "validate.py", images, "--model", f"local-dir:{folder}", "-j", 0, ours=ours
    )
    assert found["img_size"] == 32
    assert found["top1"] == pytest.approx(100 * top1(pair.model), abs=0.01)


def test_benchmark(scripts, exported):
    folder, ours = exported
    few = ("--bench", "inference", "--num-warm-iter", 1, "--num-bench-iter", 5)
    found = run(scripts / "benchmark.py", "--model", f"local-dir:{folder}", *few, ours=ours)
    assert found["infer_img_size"] == 32
    assert found["infer_samples_per_sec"] > 0
