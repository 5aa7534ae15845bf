"""A Ray cluster of two nodes on this machine, its driver a process beside them.

The second node sees another, read-only folder in the place of the weights': what is to lie there
has to come to the first node, the driver's, through Ray. `ray stop` would stop other people's Ray.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import timm

from lambda_nas.errors import ClusterError, InputError
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.exports.front_trial import export_trial
from lambda_nas.records.weights import StudyWeights
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.training.evaluation import evaluate

from .conftest import DEADLINE_S, TINY, Search, check_sound, title
from .tiny_search import STUDY, Lines, source

FULL_BYTES = 65536
DEPTH, IMAGES = 4, 40
SAVE_ELSEWHERE = """
import sys, ray, torch
from pathlib import Path
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from lambda_nas.execution.weights import WeightsWriter
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.weights import StudyWeights
ray.init(address=sys.argv[1], log_to_driver=False)
here = ray.get_runtime_context().get_node_id()
[there] = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]

@ray.remote(scheduling_strategy=NodeAffinitySchedulingStrategy(there, soft=False))
def save(writer):
    try:
        writer.save(torch.nn.Linear(200, 200), 7, Architecture.of([2]))
    except OSError as error:
        return str(error)

weights = StudyWeights(Path(sys.argv[2]), "0" * 32)
print(ray.get(save.remote(WeightsWriter(weights, here))))
"""


def can_mount():
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or not can_mount(),
    reason="needs mount namespaces: util-linux and the right to make one",
)


class Node:
    """What one `ray start` leaves running, in a session of its own."""

    def __init__(self, *options, mount, hold, env):
        self._hold, self._reached = hold, Path(f"{hold}.reached")
        start = subprocess.Popen(
            [
                *("unshare", "-rm", "sh", "-c", f'mount -t tmpfs {mount} && exec "$@"', "sh"),
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1"),
                *("--node-ip-address=127.0.0.1", "--object-store-memory=100000000"),
                *("--include-log-monitor=false", "--disable-usage-stats", *options),
            ],
            env=env | {"HOLD_TRIALS": str(hold)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._session = start.pid
        said, _ = start.communicate(timeout=DEADLINE_S)
        assert start.returncode == 0, said

    def processes(self):
        found = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getsid(process.pid) == self._session:
                    found.append(process)
        return found

    def hold_trials(self):
        """Stop each trial in its middle from now on."""
        self._reached.unlink(missing_ok=True)
        self._hold.touch()

    def is_holding(self):
        return self._reached.exists()

    def let_go(self):
        self._hold.unlink()

    def kill(self):
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


class Cluster:
    """Two nodes of one core each; on the first is a disk that is almost full."""

    def __init__(self, folder):
        self.weights, self.full = folder / "weights", folder / "full"
        self.url = f"sqlite:///{folder}/study.db"
        self.weights.mkdir()
        self.full.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.env = os.environ | self.token
        # A socket's path is short: pytest's folders lie too deep.
        self._scratch = Path(tempfile.mkdtemp(prefix="ray-"))
        port = self.address.rpartition(":")[2]
        self.nodes = [
            Node(
                *("--head", f"--port={port}", "--include-dashboard=false"),
                f"--temp-dir={self._scratch}/1",
                mount=f"-o size={FULL_BYTES} none {self.full}",
                hold=folder / "hold-1",
                env=self.env,
            )
        ]
        self.nodes.append(
            Node(
                *(f"--address={self.address}", f"--temp-dir={self._scratch}/2"),
                mount=f"-o ro none {self.weights}",
                hold=folder / "hold-2",
                env=self.env,
            )
        )

    def search(self, budget):
        return Search(
            [
                *(*TINY, self.url, str(budget), f"--depth={DEPTH}", f"--images={IMAGES}"),
                *("--workers=2", f"--ray-address={self.address}", f"--weights={self.weights}"),
            ],
            self._scratch,
            self.token,
        )

    def brought(self):
        """Return the trials whose weights came to the driver."""
        return {int(path.stem.removeprefix("trial-")) for path in self.weights.glob("*/*")}

    def stop(self):
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


def check_done(cluster, budget):
    """Assert that a study ended as it should, with the front's weights and no others; return it."""
    study = check_sound(cluster.url, STUDY, budget, weights=cluster.weights)
    assert cluster.brought() == {point.trial for point in study.front}
    return study


def wait_for_all_but_one(cluster, done, search):
    """Wait until all trials are done but the one that is held; return its set."""
    store = SqlStudyStore.open(cluster.url)

    def are_done():
        if not store.has(STUDY):
            return False
        counts = store.count(STUDY)
        return (counts.evaluated, counts.claimed) == (done, 1)

    search.wait_for(are_done)
    [claim] = store.claims(STUDY)
    return claim.architecture.removal


@pytest.fixture(scope="module")
def searched(cluster):
    """What a search said whose first trials were done by the second node alone."""
    cluster.nodes[0].hold_trials()
    search = cluster.search(3)
    wait_for_all_but_one(cluster, 2, search)
    front = SqlStudyStore.open(cluster.url).front(STUDY)
    assert cluster.brought() == {point.trial for point in front}
    cluster.nodes[0].let_go()
    assert search.end() == 0, search.errors
    return search.lines


@pytest.mark.full
def test_both_nodes_run_trials_and_the_weights_come_to_the_driver(cluster, searched, tmp_path):
    assert not [line for line in searched if line.startswith("failed")]
    study = check_done(cluster, 3)
    evaluation = source(DEPTH, IMAGES).data.evaluation
    for point in study.front:
        out = tmp_path / str(point.trial)
        export_trial(
            study.info,
            point,
            StudyWeights.below(cluster.weights, study.info.name, study.info.uuid),
            out,
        )
        model = timm.create_model(f"local-dir:{out}", pretrained=True)
        assert evaluate(model, evaluation).top1 == point.accuracy


@pytest.mark.usefixtures("searched")
@pytest.mark.full
def test_the_cluster_is_joined_before_any_work_and_outlives_the_search(cluster, searched):
    assert searched[0] == "stage Joining Ray\n"
    assert all(any("raylet" in title(p) for p in node.processes()) for node in cluster.nodes)


@pytest.mark.full
def test_a_full_disk_of_the_driver_is_told_to_the_trial(cluster):
    said = subprocess.run(
        [sys.executable, "-c", SAVE_ELSEWHERE, cluster.address, cluster.full],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert said.stdout.startswith("[Errno 28] No space left on device"), said.stderr


@pytest.mark.usefixtures("searched")
@pytest.mark.full
def test_the_set_of_a_killed_node_is_tried_again_by_the_other(cluster):
    first, second = cluster.nodes
    first.hold_trials()
    second.hold_trials()
    search = cluster.search(6)
    # A trial that has not begun on one node is begun by the other, if that is idle.
    search.wait_for(lambda: first.is_holding() and second.is_holding())
    first.let_go()
    lost = wait_for_all_but_one(cluster, 5, search)
    second.kill()
    assert search.end() == 0, search.errors
    failures = [line for line in search.lines if line.startswith("failed")]
    assert failures == [f"failed {lost} the worker process died\n"]
    assert check_done(cluster, 6).trials[-1].removal == lost
    assert first.processes()


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("ray://127.0.0.1:1", InputError, "this is an address for Ray's client"),
        pytest.param(
            "127.0.0.1:1",
            ClusterError,
            "at 127.0.0.1:1: Failed to connect to Ray cluster",
            marks=pytest.mark.full,
        ),
        ("nonsense", ClusterError, "at nonsense: Invalid address format: nonsense"),
    ],
)
def test_an_address_where_no_cluster_answers(address, error, message):
    settings = Settings(Budget(trials=1), 1, (0,), ray_address=address)
    with pytest.raises(error, match=message), ray_running(settings, Lines()):
        pytest.fail("joined")


@pytest.mark.full
def test_a_cluster_that_wants_its_token(cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    settings = Settings(Budget(trials=1), 1, (0,), ray_address=cluster.address)
    with (
        pytest.raises(ClusterError, match="it needs a token: set RAY_AUTH_MODE=token"),
        ray_running(settings, Lines()),
    ):
        pytest.fail("joined")
