"""The Ray Tune run: workers are reused for all trials, and our searcher decides when it ends."""

import tempfile

import optuna
import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.stopper import Stopper

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.execution.cluster import nodes, share_threads
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.searcher import RemovalSearcher
from lambda_nas.execution.settings import SearchTask, Settings
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.execution.time_limits import TimeKeeper, foresee_seconds
from lambda_nas.execution.trainable import RemovalTrial, WorkerSetup
from lambda_nas.execution.weights import WeightsWriter
from lambda_nas.records.weights import StudyWeights
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.sampler import RemovalSampler
from lambda_nas.strategy.surrogate import Score


class EarlyStoppingScheduler(FIFOScheduler):
    """Stops a trial as soon as the searcher, which knows the front, says so."""

    def __init__(self, searcher: RemovalSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(
        self, tune_controller: object, trial: Trial, result: dict[str, object]
    ) -> str:
        """Return whether a trial goes on after a rung that is not its last."""
        del tune_controller
        stops = self._searcher.stops(trial.trial_id, result)
        return self.STOP if stops else self.CONTINUE

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Tell the searcher what the worker raised where no trial could tell it."""
        del tune_controller
        error = trial.get_pickled_error()
        if isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False):
            # The rest is the traceback.
            self._searcher.on_trial_error(trial.trial_id, str(error).strip().splitlines()[-1])


class StopAtOnce(Stopper):
    """Ends the run at once when the searcher has an error, or the time is up."""

    def __init__(self, searcher: RemovalSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Stop no single trial."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Return whether no trial that is running matters any more."""
        return self._searcher.error is not None or self._searcher.is_over


def run_trials(
    study: optuna.Study,
    store: StudyStore,
    sampler: RemovalSampler,
    score: Score,
    prices: PriceTable,
    *,
    run_handle: RunHandle,
    task: SearchTask,
    settings: Settings,
    weights: StudyWeights,
    deadline: float | None,
    progress: Progress,
) -> str:
    """Run trials until the searcher stops, and return why it ended.

    The task is put into Ray's object store once; each worker process reads it from there once.
    After ``deadline`` seconds of the run, the running trials are given up.

    Raises:
        StorageError: If the database fails; the running trials are given up.
        TrialsFailedError: If too many trials failed in a row.
    """
    searcher = RemovalSearcher(
        study,
        store,
        sampler,
        prices,
        EarlyStopping(rungs=len(task.rungs) + 1, images=len(task.evaluation)),
        score,
        search_space=settings.search_space,
        budget=settings.budget.trials,
        deadline=deadline,
        workers=settings.workers,
        run_handle=run_handle,
        weights=weights,
        progress=progress,
    )
    threads = share_threads(nodes(), settings.workers, settings.gpus_per_trial)
    writer = WeightsWriter(weights, ray.get_runtime_context().get_node_id())
    trainable = tune.with_resources(
        tune.with_parameters(
            RemovalTrial, worker_setup=WorkerSetup(ray.put(task), writer, threads)
        ),
        {"cpu": threads, "gpu": settings.gpus_per_trial},
    )
    with tempfile.TemporaryDirectory(prefix="lambda-nas-") as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=EarlyStoppingScheduler(searcher),
                # The searcher ends the run: failed and rejected trials do not use up the budget.
                num_samples=-1,
                max_concurrent_trials=settings.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                # Not the study's, which could lead out of the folder.
                name="trials",
                storage_path=scratch,
                verbose=0,
                # The default in notebooks clears the output of the cell, even if it prints nothing.
                progress_reporter=tune.CLIReporter(),
                callbacks=[
                    TimeKeeper(
                        searcher,
                        given=settings.trial_timeout,
                        foreseen=foresee_seconds(
                            task, prices.unpruned.throughput, settings.workers
                        ),
                    )
                ],
                stop=StopAtOnce(searcher),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if searcher.error:
        raise searcher.error
    return searcher.ended or "Ray ended the run"
