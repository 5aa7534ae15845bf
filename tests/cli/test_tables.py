"""The tables of `studies` and `show`, in terminals of several widths."""

import re
import sys
from dataclasses import replace

import pytest
from store_fixtures import SETTINGS, claim_and_record

from lambda_nas.cli import main, output
from lambda_nas.cost.measurement import Price
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.records.study import StudyInfo
from lambda_nas.records.trial import RungResult, TrialRecord
from lambda_nas.store.study_store import SqlStudyStore

BASE = Price(100.0, 1.0, 320.0, 40_000_000, 5_000_000, 1_000_000_000)
PRICES = PriceTable.by_number(
    range(32),
    {n: replace(BASE, throughput=100.0 + n, speedup=1 + n / 10) for n in range(32)},
)
INFO = StudyInfo(
    uuid="0" * 32,
    name="vit[red]-images",
    model="local-dir:/a/long/way/down/vit_base_patch16_224",
    model_fingerprint="m",
    data="/home/someone/images",
    data_fingerprint="d",
    device="AMD EPYC 7763 64-Core Processor",
    layers=tuple(range(32)),
    seed=0,
    baseline_accuracy=0.8,
    baseline=BASE,
    settings=SETTINGS,
)


@pytest.fixture
def printed(monkeypatch, capsys, tmp_path, who, request):
    monkeypatch.chdir(tmp_path)
    store = SqlStudyStore.open("sqlite:///studies/lambda_nas.db")
    store.create_study(INFO, PRICES)
    removal = Architecture.of(getattr(request, "param", range(11)))
    run = store.begin_run(INFO.name, who)
    record = TrialRecord(0, removal, (RungResult(0, 0.75, 1.0),), 0.5, run, 1.0)
    claim_and_record(store, INFO.name, record)

    def call(*args, width):
        monkeypatch.setattr(sys, "argv", ["lambda-nas", *args])
        monkeypatch.setattr(output.stdout, "width", width)
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]

    return call


@pytest.mark.parametrize("width", [80, 120, 160])
def test_studies_keep_names_and_numbers_whole(printed, width):
    _, head, _, row, *_ = printed("studies", width=width)
    study, model, data = row.split()[:3]
    assert (study, data) == ("vit[red]-images", "images")
    assert "vit_base_patch16_224".startswith(model)
    assert (model == "vit_base_patch16_224") == (width > 80)
    assert row.split()[-4:-1] == ["80.00%", "0", "1"]
    assert ("device" in head) == ("AMD" in row) == (width >= 100)


@pytest.mark.parametrize("width", [80, 120, 160])
def test_show_has_all_columns(printed, width):
    title, head, _, baseline, point, *_ = printed("show", INFO.name, width=width)
    assert (
        title
        == ("vit[red]-images: vit_base_patch16_224 on images, AMD EPYC 7763 64-Core Processor")[
            :width
        ]
    )
    assert head.split()[-1] == "params"
    assert baseline.split()[0] == "none"
    assert point.split()[-2:] == ["5.00", "M"]
    assert ("{0,1,2,3,4,5,6,7,8,9,10}" in point) == (width > 80)


TWO_DIGITS = range(9, 31)


def cells_below(lines, title):
    """Return what stands in the column of an architecture, line by line."""
    head = next(index for index, line in enumerate(lines) if title in line)
    left = lines[head].index(title)
    right = re.compile(r"\S+").search(lines[head], left + len(title))
    cells = [line[left : right.start() if right else None].strip("│ ") for line in lines[head:]]
    return [cell.split()[0] for cell in cells if cell.startswith(("{", *"0123456789"))]


@pytest.mark.parametrize("printed", [TWO_DIGITS], indirect=True)
@pytest.mark.parametrize("width", [60, 67, 80, 81, 90, 100, 120])
def test_show_breaks_a_removal_set_at_its_commas_only(printed, width):
    lines = printed("show", INFO.name, width=width)
    head = next(line for line in lines if "architecture" in line)
    cells = cells_below(lines, "architecture")
    assert "".join(cells) == str(Architecture.of(TWO_DIGITS))
    assert len(cells) > 1
    assert all(cell.endswith((",", "}")) for cell in cells)
    assert all(len(line) <= width for line in lines)
    assert {"trial", "top-1", "change", "speed-up"} <= set(head.split())
    assert ("params" in head) == (width >= 80)
