"""One trial as Ray runs it: surgery and transplant in rung 0, then one rung of training per step.

A model that is not a plain sequence of blocks has no transplant: its rung 0 is the plain removal.
"""

import time

import torch
from ray.tune import Trainable
from torch import nn

from lambda_nas.errors import LambdaNasError
from lambda_nas.execution.settings import SearchTask
from lambda_nas.execution.weights import WeightsFolder
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.blockwise import is_blockwise
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.token_merging.blocks import merge_tokens
from lambda_nas.training.dilution import dilute, finish
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train


class RemovalTrial(Trainable):
    """Repairs, trains and evaluates one architecture after another in the same worker process."""

    def setup(  # type: ignore[override]  # Ray's `with_parameters` adds the others.
        self,
        config: dict[str, object],
        task: SearchTask,
        weights: WeightsFolder,
        threads: int,
    ) -> None:
        """Take the task; called once per worker, before the first trial."""
        torch.set_num_threads(threads)
        self._task = task
        self._weights = weights
        self._unpruned = task.model.to(task.device).eval()
        blockwise = is_blockwise(self._unpruned)
        self._cache = ActivationCache(self._unpruned, task.calibration) if blockwise else None
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
        """Run the next rung and return its result."""
        started = time.perf_counter()
        self._rung += 1
        last = self._rung >= len(self._task.rungs)
        report: dict[str, object] = {"rung": self._rung, "done": last}
        try:
            accuracy = self._run_rung()
        except (LambdaNasError, MemoryError, RuntimeError, OSError) as error:
            full = _out_of_memory(error)
            reason = f"out of memory: {error}" if full else str(error)
            # Memory may be free when other trials have ended; any other failure would recur.
            return report | {"accuracy": 0.0, "failure": reason, "retry": full, "done": True}
        seconds = time.perf_counter() - started
        return report | {
            "accuracy": accuracy,
            "seconds": seconds,
            "weights": str(self._weights.file(self._number)),
        }

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
            self._weights.save(self._model, self._number)
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
