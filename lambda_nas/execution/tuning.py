"""The Ray Tune run: one class trainable, workers reused, our searcher in charge of the end."""

import tempfile

import optuna
import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.stopper import Stopper

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.execution.cluster import nodes, share_threads
from lambda_nas.execution.progress import Progress
from lambda_nas.execution.searcher import RemovalSearcher
from lambda_nas.execution.settings import SearchTask, Settings
from lambda_nas.execution.study_store import RunHandle, StudyStore
from lambda_nas.execution.trainable import RemovalTrial
from lambda_nas.execution.weights import WeightsFolder
from lambda_nas.strategy.early_stopping import EarlyStopping
from lambda_nas.strategy.sampler import RemovalSampler
from lambda_nas.strategy.surrogate import Score


class EarlyStoppingScheduler(FIFOScheduler):
    """Ends a trial as soon as the searcher, which knows the front, gives it up."""

    def __init__(self, searcher: RemovalSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, object]
    ) -> str:
        """Return what becomes of a trial after a rung that is not its last."""
        del tune_controller
        stops = self._searcher.stops(trial.trial_id, result)
        return self.STOP if stops else self.CONTINUE


class StopOnError(Stopper):
    """Ends the run at once when the database has failed, or trial after trial does."""

    def __init__(self, searcher: RemovalSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Stop no single trial."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Say whether the searcher can't go on."""
        return self._searcher.error is not None


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
    deadline: float | None,
    progress: Progress,
) -> str:
    """Run trials until the searcher has enough and return why it stopped.

    The task goes into Ray's object store once; each worker process takes it from there once.
    No trial is begun when ``deadline`` seconds of the run have passed.

    Raises:
        StorageError: If the database fails; the trials in flight are given up.
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
        progress=progress,
    )
    threads = share_threads(nodes(), settings.workers, settings.gpus_per_trial)
    weights = WeightsFolder(task.weights_dir, ray.get_runtime_context().get_node_id())
    trainable = tune.with_resources(
        tune.with_parameters(RemovalTrial, task=task, weights=weights, threads=threads),
        {"cpu": threads, "gpu": settings.gpus_per_trial},
    )
    with tempfile.TemporaryDirectory(prefix="lambda-nas-") as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=EarlyStoppingScheduler(searcher),
                # The searcher ends the run: failed trials and pruned proposals are not budget.
                num_samples=-1,
                max_concurrent_trials=settings.workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=study.study_name,
                storage_path=scratch,
                verbose=0,
                # It says nothing either, but that for notebooks wipes the cell that it is in.
                progress_reporter=tune.CLIReporter(),
                callbacks=[],
                stop=StopOnError(searcher),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    if searcher.error:
        raise searcher.error
    return searcher.stopped or "Ray ended the run"
