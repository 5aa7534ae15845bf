"""The search from start to end: prices, prior, seeds, trials. It resumes an unfinished study."""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import optuna
from optuna.storages import RDBStorage

from lambda_nas.cost.constraints import check_feasible, check_params
from lambda_nas.cost.merging_profiling import price_mergings
from lambda_nas.cost.price_table import PriceTable, signatures_up_to
from lambda_nas.cost.profiling import count_signature_params, price_signatures
from lambda_nas.errors import ConnectionLostError
from lambda_nas.execution.cluster import ray_running
from lambda_nas.execution.estimates import STARTING_S, forwards_of_prior
from lambda_nas.execution.heartbeat import requeue_stale_trials
from lambda_nas.execution.progress import (
    EVALUATING_UNPRUNED,
    MEASURING_PRIOR,
    PRICING,
    PRICING_MERGING,
    STARTING_RAY,
    Progress,
    StageExpected,
    in_percent,
)
from lambda_nas.execution.settings import SearchTask, Settings
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.stages import find_stages
from lambda_nas.models.surgery import removable_layers
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.records.weights import StudyWeights
from lambda_nas.scoring.forwards import forwards_of
from lambda_nas.scoring.prior import Scorer, layer_priors, nose_path
from lambda_nas.strategy.optuna_trials import (
    DIRECTIONS,
    OBJECTIVES,
    UNGATED,
    count_stored,
    count_trials,
)
from lambda_nas.strategy.sampler import RemovalSampler
from lambda_nas.strategy.surrogate import Score
from lambda_nas.training.evaluation import evaluate

PATIENCE_S = 300
"""How long to wait for a database server whose connection was lost."""


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        front: The front of the study.
        counts: Its trials by state.
        ended: Why no further trial was begun.
    """

    front: list[ParetoTrial]
    counts: TrialCounts
    ended: str


def measure_baseline(
    task: SearchTask, settings: Settings, progress: Progress
) -> tuple[float, PriceTable]:
    """Measure the unpruned model's top-1 and the prices of all signatures, its own included.

    Raises:
        InfeasibleError: If no price satisfies the constraints, as soon as that is known.
    """
    model = task.model.to(task.device)
    image, _ = next(task.evaluation.batches(1, device=task.device))
    stages = find_stages(model, image)
    signatures = signatures_up_to(stages, settings.layers, settings.max_removed)
    check_params(count_signature_params(model, stages, signatures[1:]), settings.constraints)
    with progress.stage(PRICING, 100) as advance:
        prices = price_signatures(
            model,
            stages,
            signatures,
            task.evaluation,
            batch_size=settings.batch_size,
            device=task.device,
            on_step=in_percent(advance),
        )
    for expected in _expected(task, settings, prices):
        progress.tell(expected)
    if settings.mergings:
        with progress.stage(PRICING_MERGING, 100) as advance:
            merged = price_mergings(
                model,
                prices,
                settings.search_space,
                task.evaluation,
                batch_size=settings.batch_size,
                device=task.device,
                on_step=in_percent(advance),
            )
        prices = replace(prices, merged=merged)
    check_feasible(prices, settings.search_space, settings.constraints)
    batches = -(-len(task.evaluation) // settings.batch_size)
    with progress.stage(EVALUATING_UNPRUNED, batches) as advance:
        accuracy = evaluate(
            model,
            task.evaluation,
            batch_size=settings.batch_size,
            on_batch=lambda _: advance(),
        )
    return accuracy.top1, prices


def _expected(task: SearchTask, settings: Settings, prices: PriceTable) -> list[StageExpected]:
    """Return about how long the stages take that are only forward passes, once these are timed."""
    image_s = 1 / prices.unpruned.throughput
    removable = len(removable_layers(task.model))
    prior = forwards_of_prior(removable, len(task.calibration), settings)
    return [
        StageExpected(EVALUATING_UNPRUNED, len(task.evaluation) * image_s),
        StageExpected(MEASURING_PRIOR, prior * image_s),
        StageExpected(STARTING_RAY, STARTING_S),
    ]


def run_search(
    name: str,
    task: SearchTask,
    settings: Settings,
    *,
    store: StudyStore,
    run_handle: RunHandle,
    weights: StudyWeights,
    progress: Progress,
) -> SearchResult:
    """Search until the budget is spent and return the front.

    The study must be in the store with its prices. If the search is interrupted, the next run
    evaluates the trials that were running. If the database server goes away, the search waits.

    Raises:
        InfeasibleError: If no price satisfies the constraints.
        NonFiniteError: If the unpruned model's outputs are not finite.
        StorageError: If the database fails, or its server does not come back.
    """
    prices = store.prices(name)
    check_feasible(prices, settings.search_space, settings.constraints)
    score = _prior_score(name, task, settings, store, progress)
    baseline = store.study(name).baseline_accuracy

    def resume() -> str:
        sampler = RemovalSampler(
            settings.search_space,
            prices,
            score,
            baseline=baseline,
            constraints=settings.constraints,
            seed=settings.seed,
        )
        with store.reading_optuna() as storage:
            study = _open_study(name, storage, sampler)
            requeue_stale_trials(
                study, store, settings.search_space, weights, run_handle.run, progress
            )
            _enqueue(study, settings, {each.architecture for each in store.trial_records(name)})
            progress.trials(count_trials(study), store.front(name))
        from lambda_nas.execution.tuning import run_trials

        return run_trials(
            study,
            store,
            sampler,
            score,
            prices,
            run_handle=run_handle,
            task=task,
            settings=settings,
            weights=weights,
            deadline=deadline,
            progress=progress,
        )

    with ray_running(settings, progress):
        seconds = settings.budget.seconds
        deadline = None if seconds is None else run_handle.elapsed() + seconds
        ended = _patiently(resume, lambda: store.count(name), progress)
    return SearchResult(store.front(name), count_stored(name, store.optuna), ended)


def _patiently(work: Callable[[], str], is_back: Callable[[], object], progress: Progress) -> str:
    """Do the work; start it again each time that the database server was away."""
    while True:
        try:
            return work()
        except ConnectionLostError as error:
            with progress.stage(f"Waiting: {error}", PATIENCE_S) as step:
                for second in range(1, PATIENCE_S + 1):
                    time.sleep(1.0)
                    step()
                    try:
                        is_back()
                        break
                    except ConnectionLostError:
                        if second == PATIENCE_S:
                            raise


def _prior_score(
    name: str, task: SearchTask, settings: Settings, store: StudyStore, progress: Progress
) -> Score:
    """Measure the prior if the study has none; return a function that scores an architecture."""
    images = task.calibration
    if len(images) > settings.prior_images:
        import torch

        images = images.subset(torch.arange(settings.prior_images))
    scorer = Scorer(forwards_of(task.model, images))
    saved = store.prior(name)
    if saved is None:
        # Each layer is measured alone, also those that the space keeps.
        steps = len(scorer.forwards.layers) + settings.max_removed
        with progress.stage(MEASURING_PRIOR, steps) as step:
            layers = layer_priors(scorer, on_layer=step)
            nose = nose_path(
                scorer, length=settings.max_removed, candidates=settings.layers, on_step=step
            )
        saved = {
            "score": "relative-entropy",
            "images": len(images),
            "layers": [asdict(layer) for layer in layers],
            "path": [step.row() for step in nose],
            "scored": [
                {"removed": list(each.removal), "score": scorer.relative_entropy(each.removal)}
                for each in scorer.scored()
            ],
        }
        store.save_prior(name, saved)
    scored = cast("list[dict[str, Any]]", saved["scored"])
    known = {Architecture.of(row["removed"]): float(row["score"]) for row in scored}
    known |= {trial.architecture: trial.score for trial in store.trial_records(name)}

    def score(architecture: Architecture) -> float:
        if architecture in known:
            return known[architecture]
        return scorer.relative_entropy(architecture.removal, architecture.merging)

    return score


def _open_study(name: str, storage: RDBStorage, sampler: RemovalSampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=DIRECTIONS,
            sampler=sampler,
            load_if_exists=True,
        )
        if study.metric_names is None:
            study.set_metric_names(list(OBJECTIVES))
    return study


def _enqueue(study: optuna.Study, settings: Settings, evaluated: set[Architecture]) -> None:
    """Put the space's seeds into the queue, once."""
    for seed in map(Architecture, settings.seeds):
        if seed not in evaluated:
            study.enqueue_trial(
                settings.search_space.to_params(seed),
                user_attrs={UNGATED: True},
                skip_if_exists=True,
            )
