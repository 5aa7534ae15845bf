"""Databases that are full, or go away."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from lambda_nas.errors import ConnectionLostError
from lambda_nas.execution import driver
from lambda_nas.store.study_store import SqlStudyStore

from .conftest import check_sound, same_so_far
from .tiny_search import STUDY, Lines

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BUDGET = 8


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for the tables and a trial or two; `grow` gives it more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)

    def grow():
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)

    yield folder, grow
    subprocess.run(["umount", "--lazy", folder], check=True)


@needs_root
@pytest.mark.full
def test_a_full_disk_ends_the_search_and_loses_nothing(begin, small_disk, tmp_path):
    folder, grow = small_disk
    weights = tmp_path / "weights"
    url = f"sqlite:///{folder}/study.db"
    search = begin(url, BUDGET, "--images", "3000", "--weights", weights)
    search.wait_for(lambda: search.trials() >= 2)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert search.end() == 1
    [error] = [line for line in search.errors if line.startswith("error: ")]
    assert "failed (database or disk is full)" in error
    assert not any("Traceback" in line for line in search.errors)

    filler.unlink()
    grow()
    before = SqlStudyStore.open(url).load(STUDY)
    assert 2 <= len(before.trials) < BUDGET
    again = begin(url, BUDGET, "--images", "3000", "--weights", weights)
    assert again.end() == 0
    same_so_far(before, check_sound(url, STUDY, BUDGET, weights=weights))


@pytest.mark.full
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_ends_the_search(begin, sqlite, replaced):
    path = Path(sqlite.removeprefix("sqlite:///"))
    search = begin(sqlite, 100, "--images", "3000")
    search.wait_for(lambda: search.trials() >= 2)
    if replaced:
        other = shutil.copyfile(path, path.with_name("other.db"))
        other.replace(path)
    else:
        path.unlink()
    assert search.end() == 1
    [error] = [line for line in search.errors if line.startswith("error: ")]
    assert f"the study database {path} was deleted or replaced while it was in use" in error
    assert not any("Traceback" in line for line in search.errors)
    assert path.exists() == replaced


def as_postgres(*command):
    command = ["runuser", "-u", "postgres", "--", *map(str, command)]
    subprocess.run(command, cwd="/", check=True, capture_output=True)


@pytest.fixture
def server(tmp_path):
    """A PostgreSQL server that can be stopped: its URL, and functions to start and stop it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.geteuid() != 0 or not shutil.which("runuser"):
        pytest.skip("needs PostgreSQL's server programs, and root to run them as postgres")
    # Sockets have short paths.
    folder = Path("/tmp") / f"lambda-nas-{os.getpid()}"
    folder.mkdir()
    shutil.chown(folder, "postgres")
    data, control = folder / "data", programs[-1] / "pg_ctl"
    as_postgres(programs[-1] / "initdb", "--auth=trust", "-D", data)
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"

    def start():
        as_postgres(control, "-D", data, "-w", "-l", folder / "log", "-o", options, "start")

    def stop():
        as_postgres(control, "-D", data, "-m", "immediate", "stop")

    start()
    yield f"postgresql+psycopg://postgres@/postgres?host={folder}", start, stop
    with suppress(subprocess.CalledProcessError):
        stop()
    shutil.rmtree(folder)


@pytest.mark.full
def test_a_search_waits_for_a_server_that_went_away(begin, server, tmp_path):
    url, start, stop = server
    weights = tmp_path / "weights"
    search = begin(url, BUDGET, "--images", "6000", "--weights", weights)
    search.wait_for(lambda: search.trials() >= 3)
    before = SqlStudyStore.open(url).load(STUDY)
    stop()
    search.wait_for(lambda: any("is gone" in line for line in search.lines))
    start()
    assert search.end() == 0
    same_so_far(before, check_sound(url, STUDY, BUDGET, weights=weights))


def test_a_server_that_stays_away_is_not_waited_for_without_end(server, monkeypatch):
    url, start, stop = server
    monkeypatch.setattr(driver, "PATIENCE_S", 2)
    store = SqlStudyStore.open(url)
    stop()
    try:
        with pytest.raises(ConnectionLostError, match=r"study database .* is gone"):
            driver._patiently(lambda: str(store.studies()), store.studies, Lines())
    finally:
        start()
