"""Scores and how they are judged, on tables whose truth is known."""

import json
import sys
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from lambda_nas.models.removal import RemovalSet

LAYERS = (0, 1, 2, 3, 4)
SETS = 1 << len(LAYERS)
IMAGES = 40


@pytest.fixture
def priors(benchmark):
    return benchmark("prior_scores")


@pytest.fixture
def make_table(benchmark):
    """Return a function that makes a table from one vector a layer: harm is their sum's norm."""

    def make(layers=LAYERS, seed=0):
        random, sets = np.random.default_rng(seed), 1 << len(layers)
        members = np.array(
            [[int(bit) for bit in f"{code:0{len(layers)}b}"] for code in range(sets)]
        )
        harm = np.square(members @ random.normal(size=(len(layers), 3))).sum(1)
        ranks = np.argsort(np.argsort(harm))
        right = np.arange(IMAGES) < (IMAGES - IMAGES * ranks / sets)[:, None]
        noise = random.random(sets)
        return benchmark("oracle_table").OracleTable(
            about={"model": "vit", "data": "images", "evaluation_images": IMAGES},
            layers=layers,
            removal_hits=np.packbits(right, axis=1),
            transplant_hits=np.packbits(right[::-1], axis=1),
            relative_entropy=harm.astype(np.float32),
            transfer_entropy=random.normal(size=sets).astype(np.float32),
            agreement=noise.astype(np.float32),
            feature_error=random.random(sets).astype(np.float32),
        )

    return make


def test_what_the_layers_and_the_pairs_say_of_a_set(priors, make_table):
    harm = make_table().relative_entropy.astype(float)
    np.testing.assert_allclose(priors.pairwise(harm, LAYERS), harm, atol=1e-5)
    # Layers 0 and 4 are the highest and the lowest bit.
    assert priors.additive(harm, LAYERS)[0b10001] == pytest.approx(harm[0b10000] + harm[1])
    assert priors.additive(harm, LAYERS)[0] == 0


def test_the_prediction_knows_the_path_and_orders_the_rest(priors, make_table):
    table = make_table()
    predicted, path = priors.predict(table.relative_entropy, table)
    assert len(path) == len(set(path)) == 5 + 4 + 3 + 2 + 1
    for removal in path:
        code = table.sets.index(removal)
        assert predicted[code] == pytest.approx(np.log(table.relative_entropy[code] + 1e-4))
    assert spearmanr(predicted, table.relative_entropy).statistic > 0.5


def test_block_runs(priors):
    sets = [RemovalSet(chosen) for size in range(6) for chosen in combinations(LAYERS, size)]
    assert priors.block_runs(sets, 5) == 2**6 - 2
    singles = [RemovalSet((layer,)) for layer in range(12)]
    assert priors.block_runs(singles, 12) == 12 + sum(range(1, 13))
    assert priors.block_runs([], 12) == 12


def test_spearman_is_scipys_with_the_sign_turned(priors):
    random = np.random.default_rng(1)
    scores, accuracy = random.integers(0, 9, (2, 30)), random.integers(0, 9, 30)
    groups = [np.arange(30), np.arange(5, 17)]
    found = priors.spearman(list(scores), accuracy, groups)
    expected = [[-spearmanr(s[g], accuracy[g]).statistic for s in scores] for g in groups]
    np.testing.assert_allclose(found, expected)
    assert np.isnan(priors.spearman([scores[0]], np.zeros(30), groups)).all()


def test_regret_is_the_mean_of_choices_that_tie(priors):
    accuracy, alike = np.array([0.1, 0.9, 0.5, 0.7, 1.0]), np.array([0, 1, 2, 3])
    assert priors.regret(np.array([3, 1, 2, 4, 0]), accuracy, alike) == 0
    assert priors.regret(np.array([1, 3, 1, 4, 0]), accuracy, alike) == pytest.approx(0.9 - 0.3)


@pytest.mark.full
def test_a_score_that_knows_all_is_judged_perfect_and_others_are_not(priors, make_table):
    table = make_table()
    found = priors.scores(table)
    judged = dict(zip((s.name for s in found), priors.judge(found, table, "removal"), strict=True))
    best = judged["relative entropy"]
    assert best.mean > 0.99
    assert list(best.by_size) == [1, 2, 3, 4]
    assert (best.regret, best.doubt) == (0, 0)
    assert judged["relative entropy, pairs"].overall == pytest.approx(best.overall, abs=0.01)
    blind = judged["disagreement"]
    assert blind.mean < 0.5
    assert blind.regret > 0.1
    assert blind.doubt > 0
    assert judged["accuracy drop"].overall == pytest.approx(1)
    assert max(priors.judge(found, table, "transplant")[0].by_size.values()) < 0


def test_where_a_fixed_choice_stands(priors, make_table):
    table = make_table(tuple(range(12)))
    accuracy = table.accuracy("removal")
    for choice in priors.fixed(table, "removal"):
        alike = [
            accuracy[code]
            for code, removal in enumerate(table.sets)
            if len(removal) == len(choice.removal)
        ]
        assert choice.top1 == accuracy[table.sets.index(choice.removal)]
        assert (choice.best, choice.sets) == (max(alike), len(alike))
        assert sorted(alike, reverse=True)[choice.rank - 1] == choice.top1
        # The table's relative entropy is the truth.
        assert (len(choice.rival), choice.rival_top1) == (len(choice.removal), choice.best)
    assert priors.fixed(make_table(), "removal") == []


@pytest.mark.full
def test_the_script_prints_draws_and_writes(benchmark, make_table, tmp_path, capsys, monkeypatch):
    make_table().save(tmp_path / "table.npz")
    options = ["--plot", tmp_path / "priors.html", "--json", tmp_path / "priors.json"]
    monkeypatch.setattr(sys, "argv", list(map(str, ["priors", tmp_path / "table.npz", *options])))
    benchmark("priors").main()
    printed = capsys.readouterr().out
    assert "### Plain removal" in printed
    assert "### After the transplant" in printed
    assert "| relative entropy, layers | 5 | 20 |" in printed
    written = json.loads((tmp_path / "priors.json").read_text())
    assert written["removal"]["relative entropy"]["regret"] == 0
    assert (tmp_path / "priors.html").stat().st_size > 1000
