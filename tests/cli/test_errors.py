"""A user's mistake ends in one line that names it, and the right exit code."""

import re

import pytest
import torch


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("budget", ["0", "abc", "-3", "0s", "1.5", "10 m"])
def test_budget(lambda_nas, budget):
    code, out, err = lambda_nas("search", "--budget", budget)
    assert (code, out) == (2, "")
    assert err.startswith(
        f"error: --budget {budget}: not a budget; expected a number of trials above 0"
    )


@pytest.mark.parametrize("limit", ["0s", "10", "soon", "-1m", "inf"])
def test_trial_timeout(lambda_nas, limit):
    code, out, err = lambda_nas("search", "--trial-timeout", limit)
    assert (code, out) == (2, "")
    assert err.startswith(
        f"error: --trial-timeout {limit}: not a time limit; expected a time above 0 such as 90s"
    )


def test_a_folder_that_ray_cannot_use_is_refused_before_any_work(lambda_nas, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", f"{tmp_path}/{'long' * 20}")
    code, out, err = lambda_nas("search", "--budget", "1")
    assert (code, out) == (2, "")
    assert err.startswith("error: Ray can't keep its sockets in ")
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("search", "--max-memory", "much"), 2, "--max-memory much: not a size; expected a size"),
        (
            ("search", "--workers", "1000"),
            2,
            "--workers 1000: too many: each worker needs a core, and this",
        ),
        pytest.param(
            ("search", "--gpus-per-trial", "1"),
            2,
            "--gpus-per-trial 1: PyTorch sees no GPU here, and prices are measured where the",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (("search", "--model", "resnet18"), 2, "--data is missing"),
        (
            ("search", "--model", "deit_tinny", "--data", "."),
            2,
            "--model deit_tinny: timm has no such model",
        ),
        (("search", "--space", "deit_tiny"), 2, "--data is missing"),
        (("search", "--space", "nope"), 2, "--space nope: there is no such search space"),
        (
            ("search", "--space", "nope", "--data", "."),
            2,
            "--space nope: there is no such search space",
        ),
        (("search", "--storage", "nonsense"), 2, "--storage nonsense: not a database URL"),
        (
            ("search", "--storage", "postgresql+psycopg://127.0.0.1:1/x"),
            1,
            "can't use the study database postgresql+psycopg://127.0.0.1:1/x",
        ),
        (("show", "absent"), 1, "there is no study database studies/lambda_nas.db"),
        (
            ("train", "absent", "--epochs", "1", "--out", "out"),
            1,
            "there is no study database studies/lambda_nas.db",
        ),
        (
            ("report", "absent", "--out", "report.html"),
            1,
            "there is no study database studies/lambda_nas.db",
        ),
        (("studies",), 1, "there is no study database studies/lambda_nas.db"),
        (
            ("eval", "local-dir:none", "--data", "."),
            2,
            "MODEL local-dir:none: there is no such folder",
        ),
        (("bench", "nothing_like_it"), 2, "MODEL nothing_like_it: timm has no such model"),
    ],
)
def test_bad_input(lambda_nas, args, code, message):
    found, out, err = lambda_nas(*args)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("constraint", "nearest"),
    [
        (("--max-params", 1000), r"--max-params 1000: 11 layers removed, \d+ params"),
        pytest.param(
            ("--max-memory", "1kB", "--min-speedup", 100),
            r"--max-memory 0.001MB and --min-speedup 100: 11 layers removed, "
            r"\d+ params, \d+\.\d\d MB, \d+\.\d\d images/s, \d\.\d\dx",
            marks=pytest.mark.full,
        ),
    ],
)
def test_constraints_that_nothing_satisfies(lambda_nas, tmp_path, constraint, nearest):
    from lambda_nas.store.study_store import SqlStudyStore

    code, out, err = lambda_nas("search", "--quiet", "--budget", "3", "--json", *constraint)
    assert (code, out) == (1, "")
    message = (
        "error: no architecture satisfies the constraints; "
        f"nearest to {nearest}: relax a constraint\n"
    )
    assert re.fullmatch(message, err)
    assert SqlStudyStore.open("sqlite:///studies/lambda_nas.db").studies() == []
    assert not (tmp_path / "studies" / "weights").exists()


@pytest.mark.parametrize("command", ["search", "prior"])
def test_what_the_built_in_default_has_no_use_for(lambda_nas, command):
    given = ("--checkpoint", "a.pth", "--pretrained", "--class-map", "b.txt")
    code, out, err = lambda_nas(command, *given)
    assert (code, out) == (2, "")
    assert err == (
        "error: --checkpoint a.pth and --pretrained and --class-map b.txt: give --model and "
        "--data with it\n"
    )


def test_a_model_with_nothing_removable(lambda_nas, tmp_path):
    import timm
    from timm.models import save_for_hf

    save_for_hf(timm.create_model("resnet18"), str(tmp_path / "resnet"))
    code, _, err = lambda_nas("prior", "--model", f"local-dir:{tmp_path / 'resnet'}", "--data", ".")
    assert code == 2
    assert "ResNet has no residual self-attention layer to remove" in err


def test_an_unknown_study_lists_those_there_are(lambda_nas):
    from lambda_nas.store.study_store import SqlStudyStore

    SqlStudyStore.open("sqlite:///studies/lambda_nas.db")
    code, _, err = lambda_nas("show", "absent")
    assert code == 2
    assert err == "error: STUDY absent: the database holds no study yet\n"


def test_help_has_examples(lambda_nas):
    for command in (
        "search",
        "prior",
        "studies",
        "show",
        "report",
        "dashboard",
        "train",
        "export",
        "eval",
        "bench",
    ):
        code, out, _ = lambda_nas(command, "--help")
        assert code == 0
        assert f"lambda-nas {command}" in out.split("Example")[1]
