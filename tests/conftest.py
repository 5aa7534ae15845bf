import os
import shutil
from pathlib import Path

import pytest
import torch

# Two test processes share the cores, and the commands that they run: two threads of each would wait
# for one another most of the time.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

pytest_plugins = ["tiny_models", "tiny_search_fixtures", "store_fixtures"]

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also the tests marked `full`")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes long: for --full"))


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED.is_dir():
        pytest.skip(f"the real weights and images of {SHARED} are absent")
    return SHARED


@pytest.fixture(scope="session")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("figures and pages need Chrome or Chromium")
    return found


@pytest.fixture(scope="session")
def deit_tiny(shared_data):
    from lambda_nas.pretrained.loading import load_model

    return load_model(f"local-dir:{shared_data / 'deit_tiny_patch16_224'}").model


@pytest.fixture(scope="session")
def imagenet_halves(shared_data, deit_tiny):
    from lambda_nas.data.image_folder import load_images

    data = load_images(
        shared_data / "imagenet500", deit_tiny, class_map=shared_data / "imagenet_synsets.txt"
    )
    return data.calibration, data.evaluation
