import os
import tempfile
from pathlib import Path

import psutil
import pytest
import ray
from ray._private import ray_constants
from silent import Silent

from lambda_nas.errors import ClusterError, InputError
from lambda_nas.execution.cluster import (
    CLUSTERS_VARIABLE,
    Node,
    _guard_token,
    ray_folder,
    ray_running,
    share_threads,
)
from lambda_nas.execution.settings import Budget, Settings


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "threads"),
    [
        ([Node(8, 0)], 1, 0.0, 8),
        ([Node(8, 0)], 3, 0.0, 2),
        ([Node(4, 0), Node(4, 0)], 2, 0.0, 4),
        ([Node(4, 0), Node(4, 0)], 3, 0.0, 2),
        ([Node(16, 0), Node(4, 0)], 3, 0.0, 5),
        # The second node's GPU is of no use to a third trial: there is none.
        ([Node(16, 1), Node(16, 1)], 2, 1.0, 16),
        ([Node(16, 1), Node(16, 1)], 4, 0.5, 8),
        ([Node(49, 1)], 49, 1 / 49, 1),
        ([Node(8, 4), Node(64, 1)], 2, 2.0, 4),
        # One that has no GPU gives its cores to nobody.
        ([Node(64, 0), Node(8, 2)], 2, 1.0, 4),
        # More workers than room: those that wait get theirs when a node joins.
        ([Node(2, 0)], 5, 0.0, 1),
    ],
)
def test_threads_let_all_workers_run_at_once(nodes, workers, gpus, threads):
    assert share_threads(nodes, workers, gpus) == threads


@pytest.mark.parametrize(
    ("nodes", "gpus", "most"),
    [([Node(8, 1), Node(8, 1)], 2.0, 1), ([Node(8, 0)], 0.5, 0), ([], 0.0, 0)],
)
def test_a_trial_that_fits_nowhere_is_refused(nodes, gpus, most):
    with pytest.raises(InputError, match=f"gpus_per_trial {gpus:g}: .* on a machine is {most}: "):
        share_threads(nodes, 1, gpus)


def connections_of(process):
    # An older psutil knows the second name only.
    name = "net_connections" if hasattr(process, "net_connections") else "connections"
    return getattr(process, name)("tcp")


def test_ray_keeps_its_files_where_the_paths_of_its_sockets_are_short(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    short = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    assert ray_folder() == short
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert ray_folder() == Path("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    assert ray_folder() == short
    short.rmdir()
    with pytest.raises(InputError, match=f"sockets in {short}: it needs a folder that can be"):
        ray_folder()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(InputError, match=f"sockets in {long}: .* at most .* RAY_TMPDIR to one"):
        ray_folder()


def test_a_ray_that_would_listen_to_the_network_is_not_started(monkeypatch):
    monkeypatch.delattr(ray_constants, "ENABLE_RAY_CLUSTER")
    settings = Settings(Budget(trials=1), 1, (0,))
    with (
        pytest.raises(ClusterError, match=r"^lambda-nas can't keep Ray .* install an older Ray"),
        ray_running(settings, Silent()),
    ):
        pass
    assert not ray.is_initialized()


def test_the_file_of_rays_token_is_its_owners_alone(monkeypatch, tmp_path):
    token = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        _guard_token()
        assert token.stat().st_mode & 0o777 == 0o600
        token.write_text("secret")
        token.chmod(0o644)


@pytest.mark.full
def test_a_ray_of_our_own_is_for_this_user_and_this_machine_alone(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    settings = Settings(Budget(trials=1), 1, (0,))
    before = dict(os.environ)
    with ray_running(settings, Silent()):

        @ray.remote
        def nothing():
            pass

        ray.get(nothing.remote())
        us = psutil.Process()
        processes = [us, *us.children(recursive=True)]
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for process in processes
            for connection in connections_of(process)
            if connection.status == psutil.CONN_LISTEN
        ]
        folders = list(Path("/tmp").glob("ray-*/r/session_*"))
        assert len(listening) > 3
        assert set(listening) == {"127.0.0.1"}
        [ours] = [folder for folder in folders if folder.name.endswith(f"_{os.getpid()}")]
        assert ours.parents[1].stat().st_mode & 0o777 == 0o700
    assert not ours.parents[1].exists()
    token = Path.home() / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mode & 0o777 == 0o600
    assert os.environ.get(CLUSTERS_VARIABLE) == before.get(CLUSTERS_VARIABLE)
