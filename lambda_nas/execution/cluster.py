"""Ray: one of our own for this search, or a cluster that is joined, and who has room in it."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lambda_nas.errors import ClusterError, InputError
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.settings import Settings

# Ray reads these when it is imported: quiet output, and Ctrl-C is ours to handle.
# Threads that wait by spinning starve their own process on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Tune's record of the run, written anew and larger every few seconds: the study is what we resume.
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
    """What one machine of a cluster has for trials."""

    cpus: float
    gpus: float

    def room(self, threads: int, gpus_per_trial: float) -> int:
        """Return how many trials fit at a time."""
        by_cpu = int(self.cpus // threads)
        if not gpus_per_trial:
            return by_cpu
        # A trial's part of a GPU lies on one of them; 1 / (1 / 49) is a bit below 49.
        shares = int(1 / gpus_per_trial + 1e-6)
        by_gpu = int(self.gpus) * shares if shares else int(self.gpus // gpus_per_trial)
        return min(by_cpu, by_gpu)


@contextmanager
def ray_running(settings: Settings, progress: Progress) -> Iterator[None]:
    """Start or join Ray, silently, and leave it in every case; one that is joined already stays so.

    Raises:
        ClusterError: If no cluster answers, or not to this process.
        InputError: If the cluster is no place for the trials.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with progress.stage("Starting Ray" if settings.ray_address is None else "Joining Ray", 1):
        if settings.ray_address is not None:
            _probe(settings.ray_address)
        _start_ray(settings.ray_address)
    try:
        share_threads(nodes(), settings.workers, settings.gpus_per_trial)
        yield
    finally:
        # In a cluster it ends this process's part only.
        ray.shutdown()


def nodes() -> list[Node]:
    """Return the machines of the cluster that this process is in."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive]


def share_threads(nodes: Sequence[Node], workers: int, gpus_per_trial: float) -> int:
    """Return the most threads a trial can have with all workers busy at the same time.

    Where there is no room for all of them, those that wait get theirs when a node joins.

    Raises:
        InputError: If a trial fits nowhere: it would wait for ever.
    """

    def room(threads: int) -> int:
        return sum(node.room(threads, gpus_per_trial) for node in nodes)

    if not room(1):
        most = max((node.gpus for node in nodes), default=0.0)
        raise InputError(
            f"no machine that Ray knows has room for a trial: a core, --gpus-per-trial "
            f"{gpus_per_trial:g} (the most GPUs on one: {most:g}); lower it or join one with more"
        )
    cores = max(int(node.cpus) for node in nodes)
    return next((n for n in range(cores, 1, -1) if room(n) >= workers), 1)


def _probe(address: str) -> None:
    """Try to join in a process of its own.

    Ray tries for a quarter of an hour to reach what is not there, writes of it to standard error
    from C++ and takes its patience from the environment.
    """
    if address.startswith("ray://"):
        raise InputError(
            f"--ray-address {address}: this is for Ray's client; run the search on a machine of "
            "the cluster and give HOST:PORT, or auto"
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
        return "it wants its token: set RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token"
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _start_ray(address: str | None) -> None:
    import ray

    # What goes wrong in a trial is told by us, with the removal set.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Sockets have short paths: Ray's folder can't lie deep below the user's own.
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    ray.init(
        # Without an address Ray would join whatever cluster it finds on this machine.
        address=address or "local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
