"""A database file that is taken away from under a store."""

import shutil
from pathlib import Path

import optuna
import pytest

from lambda_nas.errors import StorageError
from lambda_nas.store.study_store import SqlStudyStore

STUDY = "deit-images"
GONE = r"^the study database .*study\.db was deleted or replaced while it was in use: put it back"


@pytest.fixture
def path(sqlite_url):
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def opened(sqlite_url, make_info, prices):
    with SqlStudyStore.open(sqlite_url) as store:
        store.create_study(make_info(), prices)
        optuna.create_study(study_name=STUDY, storage=store.optuna)
        yield store


def delete(path):
    path.unlink()


def replace(path):
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    copy.replace(path)


def move_the_folder(path):
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("lose", [delete, replace, move_the_folder])
def test_what_reads_or_writes_afterwards_says_so(opened, path, who, lose):
    study = optuna.load_study(study_name=STUDY, storage=opened.optuna)
    lose(path)
    before = path.exists() and path.stat().st_mtime_ns
    for use in (
        lambda: opened.study(STUDY),
        lambda: opened.begin_run(STUDY, who),
        study.ask,
        lambda: opened.settle(STUDY, 0, study.ask),
    ):
        with pytest.raises(StorageError, match=GONE):
            use()
    # Nothing was made in its place, nor written there.
    assert (path.exists() and path.stat().st_mtime_ns) == before


def test_optuna_does_not_begin_anew_either(sqlite_url, path):
    with SqlStudyStore.open(sqlite_url) as store:
        delete(path)
        with pytest.raises(StorageError, match=GONE):
            assert store.optuna
    assert not path.exists()


def test_a_file_that_is_put_back_is_used_again(opened, path):
    away = path.with_name("away.db")
    path.rename(away)
    with pytest.raises(StorageError, match=GONE):
        opened.study(STUDY)
    away.rename(path)
    assert opened.study(STUDY).name == STUDY
