"""Starts Ray for a search or joins a cluster, and finds out how many trials have room in it."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
CLUSTERS_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""The system's limit."""
LONGEST_SOCKET = "/ray-xxxxxxxx/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


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
    with ExitStack() as stack:
        if settings.ray_address is None:
            with progress.stage(STARTING_RAY, 1):
                _start_ray(stack)
        else:
            with progress.stage(JOINING_RAY, 1):
                _join_ray(settings.ray_address)
        # In a cluster, only this process leaves.
        stack.callback(ray.shutdown)
        share_threads(nodes(), settings.workers, settings.gpus_per_trial)
        yield


def ray_folder() -> Path:
    """Return where a Ray of our own keeps its files and its sockets, whose paths must be short.

    This is RAY_TMPDIR if that is set, or else the folder for temporary files, or else /tmp.

    Raises:
        InputError: If none of them can be written and is short enough.
    """
    given = os.environ.get("RAY_TMPDIR")
    folders = [Path(given)] if given else [Path(tempfile.gettempdir()), Path("/tmp")]
    room = SOCKET_PATH_BYTES - len(LONGEST_SOCKET)
    for folder in folders:
        # Windows has no such sockets.
        fits = sys.platform == "win32" or len(os.fsencode(folder.absolute())) <= room
        if fits and os.access(folder, os.W_OK | os.X_OK):
            return folder.absolute()
    raise InputError(
        f"Ray can't keep its sockets in {' or '.join(map(str, folders))}: it needs a folder that "
        f"can be written, with a path of at most {room} bytes",
        advice="set the environment variable RAY_TMPDIR to one",
    )


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


def _join_ray(address: str) -> None:
    import ray

    check_cluster(address)
    with _own_signals():
        ray.init(address=address, **_quiet())


def _start_ray(stack: ExitStack) -> None:
    """Start a Ray that only this user can reach; its folder goes when the stack is closed."""
    import ray

    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="ray-", dir=ray_folder(), ignore_cleanup_errors=True)
    )
    _guard_token()
    with _own_signals(), _on_loopback():
        # Without an address Ray would join any cluster that it finds on this machine. It opens the
        # folder that it is given to everybody, but not the one around that.
        ray.init(address="local", _temp_dir=f"{folder}/r", **_quiet())


def _guard_token() -> None:
    """Let nobody else read Ray's token: who has it can run code here.

    Ray makes a token if there is none, and writes it into the file that it finds.
    """
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):
        token.parent.mkdir(exist_ok=True)
        token.touch(mode=0o600)
        token.chmod(0o600)


def _quiet() -> dict[str, Any]:
    """Return the arguments by which Ray says nothing."""
    # We report what goes wrong in a trial ourselves, with its architecture.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    return {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": False,
    }


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a Ray that starts listen on the loopback interface only.

    Given a loopback address, Ray takes the machine's own in its place. It uses loopback where it
    supports no clusters, which a variable decides, read when Ray is imported.

    Raises:
        ClusterError: If this Ray has no such variable: it would listen to the network.
    """
    import ray
    from ray._private import ray_constants

    if not hasattr(ray_constants, "ENABLE_RAY_CLUSTER"):
        raise ClusterError(
            f"lambda-nas can't keep Ray {ray.__version__} from listening to the network",
            advice="install an older Ray, or start one with ray start --head "
            "--node-ip-address=127.0.0.1 and give `ray_address`",
        )
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(CLUSTERS_VARIABLE)
    ray_constants.ENABLE_RAY_CLUSTER = False
    # For the processes that Ray starts.
    os.environ[CLUSTERS_VARIABLE] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        if before[1] is None:
            del os.environ[CLUSTERS_VARIABLE]
        else:
            os.environ[CLUSTERS_VARIABLE] = before[1]


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
