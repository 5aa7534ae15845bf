"""Races on a table whose truth is known."""

import json
from itertools import pairwise

import numpy as np
import pytest

from lambda_nas.models.removal import RemovalSet

LAYERS = (0, 1, 2, 3)
IMAGES = 50


@pytest.fixture
def table(benchmark):
    """Return a table of the digits' model in which layer 0 harms most, and layer 3 least."""
    codes = np.arange(1 << len(LAYERS))
    harm = np.array([[8, 5, 2, 1][layer] * (codes >> (3 - layer) & 1) for layer in LAYERS]).sum(0)
    right = np.arange(IMAGES) < (48 - 3 * harm)[:, None]
    scores = {"transfer_entropy": harm, "agreement": harm, "feature_error": harm}
    return benchmark("oracle_table").OracleTable(
        about={"model": "digits_vit", "data": "digits", "evaluation_images": IMAGES},
        layers=LAYERS,
        removal_hits=np.packbits(right, axis=1),
        transplant_hits=np.packbits(right[:0], axis=1),
        relative_entropy=(harm / 16).astype(np.float32),
        **scores,
    )


@pytest.fixture
def make_problem(benchmark, table):
    return lambda seed=None: benchmark("oracle_problem").Problem(table, "removal", seed)


def test_the_front_is_one_set_a_price_and_the_greedy_path_finds_it(make_problem):
    problem = make_problem()
    best = [RemovalSet.of(layers) for layers in ([3], [2, 3], [1, 2, 3])]
    assert sorted(problem.front()) == sorted(best)
    assert problem.nose_path() == best
    assert len(problem.every_set()) == 14
    assert problem.baseline == 48 / 50
    assert problem.accuracy(best[1]) == pytest.approx(39 / 50)


def test_the_share_grows_to_one_when_the_front_is_measured(make_problem):
    problem = make_problem()
    shares = problem.shares([RemovalSet.of([0]), *problem.front()], 6)
    assert len(shares) == 6
    assert all(one <= other for one, other in pairwise(shares))
    assert 0 < shares[0] < 0.6
    assert shares[3:] == pytest.approx(1.0)


def test_a_bootstrap_is_another_draw_of_the_images_for_all_sets_at_once(make_problem):
    drawn = [make_problem(seed) for seed in (0, 0, 1)]
    accuracies = [[problem.accuracy(s) for s in problem.every_set()] for problem in drawn]
    assert accuracies[0] == accuracies[1] != accuracies[2]
    # What is right wherever another set is right stays so.
    assert all(problem.baseline >= max(a) for problem, a in zip(drawn, accuracies, strict=True))


@pytest.mark.parametrize("name", ["ours", "random", "tpe", "nsga2"])
def test_no_set_is_charged_twice_and_the_baseline_never(benchmark, make_problem, name):
    problem = make_problem()
    race = benchmark("samplers").run(name, problem, 0, 14)
    assert sorted(race.trials) == sorted(problem.every_set())
    assert race.counts["answered"] >= 14


def test_our_prior_is_counted_and_its_gate_judged(benchmark, make_problem):
    race = benchmark("samplers").run("ours", make_problem(), 0, 8)
    # The greedy path passes by 4 + 3 + 2 sets; each costs at most its blocks.
    assert 9 <= race.counts["scored"] <= 14
    assert race.counts["scored"] < race.counts["block_runs"] <= 30
    assert race.gate["wrong"] == [0.0]
    assert 0 <= race.gate["rejected"][0] <= 1


def test_the_script_writes_what_it_prints_and_keeps_what_it_has(
    benchmark, table, tmp_path, capsys, monkeypatch
):
    table.save(tmp_path / "table.npz")
    out = tmp_path / "samplers.json"
    command = ["samplers.py", str(tmp_path / "table.npz"), "--budget", "8", "--out", str(out)]
    script = benchmark("samplers")
    for samplers in (["nose:1"], ["random:3"]):
        monkeypatch.setattr("sys.argv", [*command, "--samplers", *samplers])
        script.main()
    records = json.loads(out.read_text())
    assert [record["seeds"] for record in records.values()] == [1, 3]
    assert records["digits_vit, removal, nose"]["needed"][1] <= 3
    printed = capsys.readouterr().out
    assert "| NOSE alone | 100.0 [100.0, 100.0] |" in printed
    figure = benchmark("samplers_report").draw(records)
    assert {trace.name for trace in figure.data if trace.name} == {"NOSE alone", "RandomSampler"}
