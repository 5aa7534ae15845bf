"""One trial as Ray runs it: surgery and transplant in rung 0, then one rung of training per step.

A model that is not a plain sequence of blocks has no transplant: its rung 0 is the plain removal.
"""

import textwrap
import time
from dataclasses import dataclass

import ray
import torch
from ray.tune import Trainable
from torch import nn

from lambda_nas.errors import LambdaNasError
from lambda_nas.execution.settings import SearchTask
from lambda_nas.execution.weights import WeightsWriter
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.dilution import dilute, finish
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

TOLD_CHARACTERS = 300
"""How much of a foreign exception's text is told."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process needs for its trials.

    Attributes:
        task: Ray's reference to the ``SearchTask``: whatever goes wrong while it is unpickled is
            then told by the trial.
        weights: Where weights are saved.
        threads: Threads of a trial.
    """

    task: "ray.ObjectRef[SearchTask]"
    weights: WeightsWriter
    threads: int


class RemovalTrial(Trainable):
    """Repairs, trains and evaluates one architecture after another in the same worker process."""

    def setup(  # type: ignore[override]  # Ray's `with_parameters` adds the other.
        self, config: dict[str, object], worker_setup: WorkerSetup
    ) -> None:
        """Take what is needed; called once per worker, before the first trial."""
        self._setup = worker_setup
        self._weights = worker_setup.weights
        self._is_ready = False
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Start the next trial; the cached activations of the unpruned model stay."""
        self._architecture = Architecture.parse(str(new_config["architecture"]))
        self._number = int(str(new_config["trial"]))
        self._rung = -1
        self._best = -1.0
        self._model: nn.Module | None = None
        return True

    def step(self) -> dict[str, object]:
        """Run the next rung and return its result, or why it failed."""
        self._rung += 1
        report: dict[str, object] = {"rung": self._rung}
        try:
            self._get_ready()
            started = time.perf_counter()
            accuracy = self._run_rung()
        # The model's own code may raise anything.
        except Exception as error:
            full = _out_of_memory(error)
            # Memory may be free when other trials have ended; any other failure would recur.
            failure = {"failure": _told(error, full=full), "retry": full}
            return report | failure | {"accuracy": 0.0, "done": True}
        return report | {
            "accuracy": accuracy,
            "seconds": time.perf_counter() - started,
            "done": self._rung >= len(self._task.rungs),
        }

    def _get_ready(self) -> None:
        """Get the task and run the unpruned model, once per worker."""
        if self._is_ready:
            return
        torch.set_num_threads(self._setup.threads)
        self._task = ray.get(self._setup.task)
        self._unpruned = self._task.model.to(self._task.device).eval()
        blockwise = is_blockwise(self._unpruned)
        self._cache = ActivationCache(self._unpruned, self._task.calibration) if blockwise else None
        self._is_ready = True

    def _run_rung(self) -> float:
        if self._model is None:
            self._model = self._pruned()
        else:
            self._model = self._trained(self._model)
        merging = self._architecture.merging
        # Merging changes no weights: the model is trained and saved without it.
        merged = merge_tokens(self._model, merging) if merging else self._model
        top1 = evaluate(merged, self._task.evaluation).top1
        if top1 > self._best:
            self._best = top1
            self._weights.save(self._model, self._number, self._architecture)
        return top1

    def _pruned(self) -> nn.Module:
        if self._cache is not None:
            return transplant(self._cache, self._architecture.removal)
        return remove_attention(self._unpruned, self._architecture.removal).model.eval()

    def _trained(self, model: nn.Module) -> nn.Module:
        """Return the model after the rung's training; dilution starts from the unpruned model."""
        assert self._task.training is not None
        config = self._task.rungs[self._rung - 1]
        fades = config.lambda_schedule.start > 0
        if fades:
            model = dilute(self._unpruned, self._architecture.removal, compensation="none")
        train(model, self._task.training, config, teacher=self._unpruned)
        return finish(model) if fades else model


def _out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed; PyTorch has no error type for the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(
        error
    )


def _told(error: Exception, *, full: bool) -> str:
    """Return an exception in one line; our own need no type."""
    # Ray appends the traceback to what can't be unpickled.
    text = str(error).partition("\ntraceback: ")[0]
    text = textwrap.shorten(text, TOLD_CHARACTERS, placeholder=" ...")
    if full:
        return f"out of memory: {text}"
    if isinstance(error, LambdaNasError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
