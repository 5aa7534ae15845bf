"""Starts Ray for a search or joins a cluster, and finds out how many trials have room in it."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lambda_nas.errors import ClusterError, InputError
from lambda_nas.execution.progress import JOINING_RAY, STARTING_RAY, Progress
from lambda_nas.execution.settings import Settings

# Threads that wait by spinning starve their own process on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray reads these when it is imported: quiet output, and Ctrl-C is handled by us.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Tune rewrites its growing record of the run every few seconds; a search resumes from the study.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "inf")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

PROBE = """
import sys, ray
try:
    ray.init(address=sys.argv[1], include_dashboard=False, log_to_driver=False)
except Exception as error:
    sys.exit(print(" ".join(str(error).split())) or 1)
"""
PROBE_PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "1",
    "RAY_gcs_rpc_server_connect_timeout_s": "3",
    "RAY_py_gcs_connect_timeout_s": "6",
    "RAY_gcs_server_request_timeout_seconds": "10",
}
PROBE_S = 60


@dataclass(frozen=True)
class Node:
    """The resources of one machine of a cluster."""

    cpus: float
    gpus: float

    def room(self, threads: int, gpus_per_trial: float) -> int:
        """Return how many trials fit at the same time."""
        by_cpu = int(self.cpus // threads)
        if not gpus_per_trial:
            return by_cpu
        # A fraction of a GPU lies on one GPU; 1 / (1 / 49) is slightly below 49.
        shares = int(1 / gpus_per_trial + 1e-6)
        by_gpu = int(self.gpus) * shares if shares else int(self.gpus // gpus_per_trial)
        return min(by_cpu, by_gpu)


@contextmanager
def ray_running(settings: Settings, progress: Progress) -> Iterator[None]:
    """Start or join Ray silently, and leave it at the end; leave alone a Ray that is running.

    Raises:
        ClusterError: If no cluster answers, or it refuses this process.
        InputError: If the cluster has no room for a trial.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with progress.stage(STARTING_RAY if settings.ray_address is None else JOINING_RAY, 1):
        if settings.ray_address is not None:
            check_cluster(settings.ray_address)
        _start_ray(settings.ray_address)
    try:
        share_threads(nodes(), settings.workers, settings.gpus_per_trial)
        yield
    finally:
        # In a cluster, only this process leaves.
        ray.shutdown()


def nodes() -> list[Node]:
    """Return the machines of the cluster that this process has joined."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive]


def share_threads(nodes: Sequence[Node], workers: int, gpus_per_trial: float) -> int:
    """Return how many threads a trial can have while all workers run at the same time.

    If there is no room for all workers, the others wait until a node joins.

    Raises:
        InputError: If a trial fits on no machine; it would wait for ever.
    """

    def room(threads: int) -> int:
        return sum(node.room(threads, gpus_per_trial) for node in nodes)

    if not room(1):
        most = max((node.gpus for node in nodes), default=0.0)
        raise InputError(
            "no machine in the Ray cluster has a core and that many GPUs for one trial; the most "
            f"GPUs on a machine is {most:g}",
            parameter="gpus_per_trial",
            value=f"{gpus_per_trial:g}",
            advice="lower it, or add a machine with more",
        )
    cores = max(int(node.cpus) for node in nodes)
    return next((n for n in range(cores, 1, -1) if room(n) >= workers), 1)


def check_cluster(address: str) -> None:
    """Check that a cluster can be joined: try it in a separate process.

    Ray tries for a quarter of an hour to reach an absent cluster, writes about it to standard error
    from C++, and reads its timeouts from the environment.
    """
    if address.startswith("ray://"):
        raise InputError(
            "this is an address for Ray's client",
            parameter="ray_address",
            value=address,
            allowed="HOST:PORT or auto",
            advice="run the search on a machine of the cluster",
        )
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            env=os.environ | PROBE_PATIENCE,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"no Ray cluster answers at {address} within {PROBE_S} s") from None
    if done.returncode:
        raise ClusterError(f"can't join the Ray cluster at {address}: {_why_not(done)}")


def _why_not(done: subprocess.CompletedProcess[str]) -> str:
    if "InvalidAuthToken" in done.stderr:
        return "it needs a token: set RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token"
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _start_ray(address: str | None) -> None:
    import ray

    # We report what goes wrong in a trial ourselves, with its architecture.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Paths of sockets are limited in length, so Ray's folder can't lie deep in the user's own.
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    with _own_signals():
        ray.init(
            # Without an address Ray would join any cluster that it finds on this machine.
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Ray from handling SIGTERM: it would print a C++ stack and exit with code 1."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread set handlers.
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
