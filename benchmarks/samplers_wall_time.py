"""Time our sampler against Optuna's TPE in whole searches: real Ray trials on the digits.

Both have the same engine, rungs, early stopping and budget. If TPE proposes a duplicate or a
removal set outside the constraints, the proposal is rejected and costs no trial.

    python benchmarks/samplers_wall_time.py --budget 24
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path

import optuna

from lambda_nas.api import session
from lambda_nas.api.inputs.preparation import resolve_layers
from lambda_nas.api.inputs.source import Source, find_source
from lambda_nas.api.progress.quiet import Quiet
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.execution import driver
from lambda_nas.execution.settings import Budget, Settings
from lambda_nas.records.front import hypervolume
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.sampler import RemovalSampler
from lambda_nas.strategy.space_files import load_space

SHARES = (0.9, 0.95, 0.99)


class TPEInstead(RemovalSampler):
    """Optuna's TPE in our sampler's place; it knows no prior, so it rejects nothing."""

    def __init__(self, *args: object, seed: int | None = None, **options: object) -> None:
        super().__init__(*args, seed=seed, **options)  # type: ignore[arg-type]
        self._tpe = optuna.samplers.TPESampler(seed=seed, multivariate=True)

    def infer_relative_search_space(self, *args: object) -> dict[str, object]:
        """Ask TPE."""
        return self._tpe.infer_relative_search_space(*args)

    def sample_relative(self, *args: object) -> dict[str, object]:
        """Ask TPE."""
        return self._tpe.sample_relative(*args)

    def sample_independent(self, *args: object) -> object:
        """Ask TPE."""
        return self._tpe.sample_independent(*args)

    def why_reject(self, *_: object) -> None:
        """Let everything pass."""


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    source = find_source(model=None, data=None).read(Quiet().stage)
    curves: dict[str, list[tuple[float, float]]] = {}
    prices: PriceTable | None = None
    for name, sampler in (("ours", RemovalSampler), ("tpe", TPEInstead)):
        driver.RemovalSampler = sampler  # type: ignore[misc]
        curves[name], prices = search(source, name, options, prices)
    most = max(volume for curve in curves.values() for _, volume in curve)
    columns = [f"{share:.0%} of the best volume after" for share in SHARES]
    print("| sampler | trials | seconds | volume | " + " | ".join(columns) + " |")
    print("|---" * (4 + len(SHARES)) + "|")
    for name, curve in curves.items():
        cells = []
        for share in SHARES:
            times = [f"{s:.0f} s" for s, volume in curve if volume >= share * most]
            cells.append(times[0] if times else "never")
        spent, volume = curve[-1]
        print(f"| {name} | {len(curve)} | {spent:.0f} | {volume:.4f} | " + " | ".join(cells) + " |")


def search(
    source: Source, name: str, options: argparse.Namespace, prices: PriceTable | None
) -> tuple[list[tuple[float, float]], PriceTable]:
    """Run one search; return its hypervolume after so many seconds, and the prices.

    Both are judged by the prices of the first: theirs differ by the machine's noise alone.
    """
    layers, most, _ = resolve_layers(source.model.model, load_space("digits"))
    settings = Settings(
        Budget(trials=options.budget), max_removed=most, layers=layers, seed=options.seed
    )
    with tempfile.TemporaryDirectory() as folder, progress_shown(visible=True) as progress:
        store = SqlStudyStore.open(f"sqlite:///{folder}/study.db")
        begun = datetime.now()
        session.search(
            session.Session(source, settings, store, name, Path(folder)),
            progress=progress,
            command="benchmark",
        )
        prices = prices or store.prices(name)
        ended = {
            trial.number: trial.datetime_complete
            for trial in optuna.load_study(study_name=name, storage=store.optuna).trials
        }
        stopped = [each.trial for each in store.trial_records(name) if each.stopped]
        points = {point.trial: point for point in store.trials(name)}
    curve, seen = [], list[ParetoTrial]()
    for number in sorted({*points, *stopped}, key=lambda number: ended[number]):
        if number in points:
            point = points[number]
            repriced = prices.of(point.architecture)
            seen.append(ParetoTrial(number, point.architecture, point.accuracy, 0, repriced))
        spent = (ended[number] - begun).total_seconds()
        curve.append((spent, hypervolume(seen, prices.unpruned)))
    return curve, prices


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
