"""Each column of our tables and some of Optuna's is damaged in turn: all that read must say so."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
import safetensors.torch
import timm
from store_fixtures import PRIOR, SETTINGS, fill, weights_of

from lambda_nas.api.study import read_study
from lambda_nas.cli.output import front_table, study_json
from lambda_nas.errors import InputError, StorageError
from lambda_nas.models.surgery import remove_attention
from lambda_nas.pretrained.loading import ModelConfig
from lambda_nas.reporting import page
from lambda_nas.reporting.dashboard_sync import sync_study
from lambda_nas.store.doctor import examine
from lambda_nas.store.schema import Base
from lambda_nas.store.study_store import SqlStudyStore

STUDY = "deit-images"
SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 6, "num_heads": 2}
OURS = {
    table.name: [column.name for column in table.columns if column.name != "id"]
    for table in Base.metadata.sorted_tables
}
OPTUNAS = {
    "study_directions": ["direction", "objective"],
    "studies": ["study_name"],
    "trials": ["number", "state", "datetime_start"],
    "trial_params": ["param_name", "param_value", "distribution_json"],
    "trial_values": ["objective", "value", "value_type"],
    "trial_user_attributes": ["key", "value_json"],
}
BAD = (None, "x" * 10_000, -1, 1e999, b"\xff\x00", "{}", "[-1]")


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_info, who):
    """The folder of a study of a small network, with all that a search leaves."""
    folder = tmp_path_factory.mktemp("made")
    model = timm.create_model("deit_tiny_patch16_224", num_classes=3, **SMALL).eval()
    config = ModelConfig.of(model)
    built = {
        "architecture": config.architecture,
        "model_args": config.model_args,
        "pretrained_cfg": config.pretrained_cfg,
    }
    with SqlStudyStore.open(f"sqlite:///{folder}/study.db") as opened:
        fill(opened, make_info(settings=SETTINGS | built), who)
        opened.save_prior(STUDY, PRIOR)
        # Trial 3, which is running.
        opened.optuna.set_trial_user_attr(4, "rungs", [0.5])
        weights = weights_of(opened, STUDY)
        weights.folder.mkdir(parents=True)
        for point in opened.front(STUDY):
            state = remove_attention(model, point.removal).model.state_dict()
            label = weights.label(point.trial, point.architecture)
            safetensors.torch.save_file(state, weights.file(point.trial), metadata=label)
    return folder


@pytest.fixture
def store(made, tmp_path):
    """A copy of that study, to be damaged."""
    shutil.copytree(made, tmp_path / "copy")
    with SqlStudyStore.open(f"sqlite:///{tmp_path}/copy/study.db") as opened:
        yield opened


def show(store):
    found = read_study(store, STUDY)
    json.dumps(study_json(found))
    front_table(found)
    found.front[0].model()


def report(store):
    found = read_study(store, STUDY)
    page.render(found.record, counts=found.counts)


def sync(store):
    sync_study(store, STUDY)


def doctor(store):
    examine(store, STUDY)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize(("table", "columns"), [*OURS.items(), *OPTUNAS.items()])
def test_a_damaged_value_is_told_in_one_line_or_does_no_harm(store, table, columns, every):
    path = store._database._file.path
    # Once a table, as it takes a while: what is drawn, of our tables or of Optuna's.
    draw = [show, report, sync] if every else [show, report if table in OURS else sync]
    for index, column in enumerate(columns):
        # Two kinds a column meet each kind in several columns.
        values = BAD if every else (BAD[index % len(BAD)], BAD[(index + 3) % len(BAD)])
        for value in values:
            with closing(sqlite3.connect(path, isolation_level=None)) as raw:
                row, before = raw.execute(f"SELECT rowid, {column} FROM {table} LIMIT 1").fetchone()
                change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                try:
                    raw.execute(change, (value, row))
                except sqlite3.IntegrityError:
                    # The database itself does not take it.
                    continue
                told = [told_by(reader, store) for reader in (SqlStudyStore.studies, doctor)]
                if not any(told):
                    told.extend(told_by(reader, store) for reader in draw)
                    draw = []
                raw.execute(change, (before, row))
                assert all("\n" not in text and len(text) < 1000 for text in told), column
    assert not told_by(show, store)


def told_by(reader, store):
    """Return what a reader says of the damage; anything but an error of ours fails the test."""
    try:
        reader(store)
    except StorageError as error:
        return str(error)
    except InputError as error:
        # The study has another name now, and this lists it.
        return str(error)[:100]
    return ""


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE lambda_prices SET speedup = -2", r"lambda_prices\.speedup is -2\.0: Input should"),
        ("UPDATE lambda_measurements SET accuracy = 1.5", r"lambda_measurements\.accuracy is 1\.5"),
        ("DELETE FROM lambda_measurements", "trial 0 has no measurements"),
        ("DELETE FROM lambda_prices WHERE signature = '1'", r"KeyError: \(1,\)"),
        ("DELETE FROM lambda_prices", r"KeyError: \(0,\)"),
        ("UPDATE lambda_trials SET architecture = '0,7' WHERE number = 0", "no such layers"),
        (
            "UPDATE lambda_trials SET architecture = 'all' WHERE number = 0",
            "'all' is not an architecture",
        ),
        ("UPDATE lambda_studies SET layers = '[0, 9]'", "one is in none of the stages"),
        ("UPDATE lambda_studies SET settings = '{'", "JSONDecodeError"),
        ("UPDATE lambda_studies SET settings = '{}'", r"settings\.architecture is \{\}: Field req"),
        ("UPDATE lambda_studies SET uuid = '../../etc'", r"uuid is '\.\./\.\./etc'"),
        ("UPDATE lambda_priors SET content = '{}'", r"lambda_priors\.content\.score is \{\}"),
        ("UPDATE lambda_runs SET started_at = 'then'", "isoformat|datetime"),
        ("UPDATE trial_user_attributes SET value_json = '{'", "JSONDecodeError"),
        ("UPDATE trials SET state = 'GONE'", "'GONE' is not among the defined enum values"),
    ],
)
def test_what_is_said_names_the_place(store, statement, message):
    with closing(sqlite3.connect(store._database._file.path)) as raw, raw:
        raw.execute(statement)
    with pytest.raises(StorageError, match=f"^the contents of .* can't be read .*{message}"):
        read_study(store, STUDY)
