"""Compare how many trials our sampler and Optuna's need, by races on oracle tables.

Each seed is another bootstrap sample of the evaluation images, the same for all samplers; the share
is that of the hypervolume of the exhaustive front on the same sample. All samplers see the same
three objectives. A removal set is charged once; proposed again, it gets the same answer free of
charge. The empty set and the one without any attention are also answered free of charge, and don't
count.

    python benchmarks/samplers.py studies/oracle_digits/table.npz --repair all \
        --out studies/oracle_digits/samplers.json --plot studies/oracle_digits/samplers.png

`--samplers gp:5` races one sampler with 5 seeds; `--out` keeps its results of the others.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import create_trial
from oracle_problem import Counted, Problem
from oracle_table import OracleTable
from prior_scores import block_runs
from samplers_report import BUDGETS, GATE, GOAL, QUARTILES, draw, markdown

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.strategy.observations import read_observations
from lambda_nas.strategy.optuna_trials import DIRECTIONS, distributions
from lambda_nas.strategy.sampler import RemovalSampler

OPTUNA: dict[str, Callable[[int], BaseSampler]] = {
    "random": RandomSampler,
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed, deterministic_objective=True),
}
SAMPLERS = ("ours", "nose", *OPTUNA)

MAX_RETRIES = 200
"""Uncharged removal sets in a row before one is drawn at random."""


class Race(NamedTuple):
    """The charged removal sets in order, the sampler's seconds, and counts."""

    trials: list[RemovalSet]
    seconds: float = 0.0
    counts: Mapping[str, int] = {}
    gate: Mapping[str, list[float]] = {}


def run(name: str, problem: Problem, seed: int, budget: int) -> Race:
    """Run one sampler once."""
    if name == "nose":
        return Race(problem.nose_path()[:budget])
    if name != "ours":
        return race(problem, OPTUNA[name](seed), seed, budget)
    score = Counted(problem.score)
    ours = race(problem, new_sampler(problem, score), seed, budget)
    cost = {
        "scored": len(score.scored),
        "block_runs": block_runs(score.scored, len(problem.layers)),
    }
    gate = judge_gate(problem, ours.trials)
    return ours._replace(counts={**ours.counts, **cost}, gate=gate)


def new_sampler(problem: Problem, score: Callable[[RemovalSet], float]) -> RemovalSampler:
    """Return our sampler; in a space this small it draws no random numbers, so it takes no seed."""
    prices = PriceTable.by_number(
        problem.layers, {n: problem.prices.by_signature[(n,)] for n in (0, *problem.sizes)}
    )
    return RemovalSampler(
        SearchSpace(problem.layers),
        prices,
        lambda architecture: score(architecture.removal),
        baseline=problem.baseline,
    )


def race(problem: Problem, sampler: BaseSampler, seed: int, budget: int) -> Race:
    """Ask and tell until the budget is charged."""
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    search_space, random = SearchSpace(problem.layers), np.random.default_rng(seed)
    charged: dict[RemovalSet, None] = {}
    seconds, retries, drawn = 0.0, 0, 0
    while len(charged) < budget:
        if retries > MAX_RETRIES:
            left = [removal for removal in problem.every_set() if removal not in charged]
            at_random = Architecture(left[random.integers(len(left))])
            study.enqueue_trial(search_space.to_params(at_random))
            drawn += 1
        began = time.perf_counter()
        trial = study.ask(distributions(search_space))
        removal = search_space.to_architecture(trial.params).removal
        study.tell(trial, problem.values(removal))
        seconds += time.perf_counter() - began
        fresh = len(removal) in problem.sizes and removal not in charged
        retries = 0 if fresh else retries + 1
        if fresh:
            charged[removal] = None
    return Race(list(charged), seconds, {"answered": len(study.trials), "drawn": drawn})


def judge_gate(problem: Problem, trials: list[RemovalSet]) -> dict[str, list[float]]:
    """Return, for each budget, the shares of the front and of all sets that the gate rejects.

    `wrong` is the share of the members of the exhaustive front that would still add to what is
    measured and would be rejected, `open` the share of those that would still add, and
    `rejected` the share of all unmeasured sets that would be rejected.
    """
    # Not the one that raced: to be asked about all sets it has to score them all.
    sampler = new_sampler(problem, problem.score)
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    search_space, front = SearchSpace(problem.layers), set(problem.front())
    shares: dict[str, list[float]] = {name: [] for name in GATE}
    for count, removal in enumerate(trials, 1):
        study.add_trial(
            create_trial(
                params=search_space.to_params(Architecture(removal)),
                distributions=distributions(search_space),
                values=problem.values(removal),
            )
        )
        if count in BUDGETS:
            left = sorted({*problem.every_set()} - {*trials[:count]})
            observations = read_observations(study, search_space)
            decisions = sampler.gate(observations, list(map(Architecture, left)))
            judged = dict(zip(left, decisions, strict=True))
            rejected = {removal for removal in left if judged[removal].rejects}
            adding = {s for s in front & {*left} if problem.accuracy(s) > judged[s].to_beat}
            shares["wrong"].append(len(adding & rejected) / len(front))
            shares["open"].append(len(adding) / len(front))
            shares["rejected"].append(len(rejected) / len(left))
    return shares


def summarise(problems: list[Problem], races: list[Race], budget: int) -> dict[str, Any]:
    """Return quartiles over seeds as JSON values."""
    pairs = zip(problems, races, strict=True)
    curves = np.array([problem.shares(race.trials, budget) for problem, race in pairs])
    reached = [np.flatnonzero(curve >= GOAL) + 1 for curve in curves]
    needed = sorted(int(found[0]) if len(found) else budget + 1 for found in reached)
    gates = [race.gate for race in races if race.gate]
    gate = {name: np.mean([shares[name] for shares in gates], 0) for name in GATE if gates}
    return {
        "seeds": len(races),
        "needed": [needed[round(part * (len(needed) - 1))] for part in QUARTILES],
        "seconds_a_trial": round(np.mean([r.seconds / len(r.trials) for r in races]), 4),
        **{name: round(np.mean([r.counts[name] for r in races]), 1) for name in races[0].counts},
        **{name: shares.round(5).tolist() for name, shares in gate.items()},
        "share": np.quantile(curves, QUARTILES, axis=0).round(5).tolist(),
    }


def main() -> None:
    """Race, and write the results."""
    options = _options()
    records: dict[str, dict[str, Any]] = {}
    if options.out and options.out.exists():
        records = json.loads(options.out.read_text())
    for path in options.tables:
        table = OracleTable.load(path)
        repairs = table.repairs if options.repair == "all" else (options.repair,)
        for repair, chosen in product(repairs, options.samplers):
            name, _, seeds = chosen.partition(":")
            began = time.perf_counter()
            problems = [Problem(table, repair, s) for s in range(int(seeds or options.seeds))]
            races = [run(name, problem, s, options.budget) for s, problem in enumerate(problems)]
            key = f"{Path(str(table.about['model'])).name}, {repair}, {name}"
            records[key] = summarise(problems, races, options.budget)
            print(f"{key}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if options.out:
                lines = (f"{json.dumps(key)}: {json.dumps(records[key])}" for key in records)
                options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(markdown(records))
    if options.plot:
        draw(records).write_image(options.plot, scale=2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", type=Path, metavar="TABLE.npz")
    parser.add_argument("--repair", choices=("removal", "transplant", "all"), default="all")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="NAME[:SEEDS]")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budget", type=int, default=max(BUDGETS))
    parser.add_argument("--out", type=Path, help="JSON, updated")
    parser.add_argument("--plot", type=Path, help="a figure of all that is in it")
    options = parser.parse_args()
    for chosen in options.samplers:
        if chosen.partition(":")[0] not in SAMPLERS:
            parser.error(f"--samplers: {chosen!r} is none of {', '.join(SAMPLERS)}")
    return options


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    main()
