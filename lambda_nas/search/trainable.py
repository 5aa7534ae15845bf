"""One trial, as Ray runs it: surgery, transplant, then a rung of training a step."""

import time

import torch
from ray.tune import Trainable
from torch import nn

from lambda_nas.core.evaluation import evaluate
from lambda_nas.core.prefixes import PrefixStates
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.training import train
from lambda_nas.core.transplant import transplant
from lambda_nas.errors import LambdaNasError
from lambda_nas.search.job import Material
from lambda_nas.search.weights import WeightsFolder


class RemovalTrial(Trainable):
    """Repairs and evaluates one removal set after another in the same worker process."""

    def setup(  # type: ignore[override]  # Ray's `with_parameters` adds the others.
        self,
        config: dict[str, object],
        material: Material,
        weights: WeightsFolder,
        threads: int,
    ) -> None:
        """Take the material once; ``reset_config`` starts each later trial."""
        torch.set_num_threads(threads)
        self._material = material
        self._weights = weights
        self._prefixes = PrefixStates(material.model.to(material.device), material.calibration)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Start over with another set; the cached states of the unpruned model stay."""
        self._removal = RemovalSet.of(new_config["removed"])  # type: ignore[arg-type]
        self._number = int(str(new_config["trial"]))
        self._rung = -1
        self._best = -1.0
        self._model: nn.Module | None = None
        return True

    def step(self) -> dict[str, object]:
        """Run the next rung and report it."""
        started = time.perf_counter()
        self._rung += 1
        last = self._rung >= len(self._material.rungs)
        report: dict[str, object] = {"rung": self._rung, "done": last}
        try:
            accuracy = self._run_rung()
        except (LambdaNasError, MemoryError, RuntimeError, OSError) as error:
            full = _out_of_memory(error)
            reason = f"out of memory: {error}" if full else str(error)
            # Memory may be there again when others have finished; nothing else gets better.
            return report | {"accuracy": 0.0, "failure": reason, "again": full, "done": True}
        seconds = time.perf_counter() - started
        return report | {
            "accuracy": accuracy,
            "seconds": seconds,
            "weights": str(self._weights.file(self._number)),
        }

    def _run_rung(self) -> float:
        if self._model is None:
            self._model = transplant(self._prefixes, self._removal)
        else:
            assert self._material.training is not None
            train(
                self._model,
                self._material.training,
                self._material.rungs[self._rung - 1],
                teacher=self._prefixes.model,
            )
        top1 = evaluate(self._model, self._material.evaluation).top1
        if top1 > self._best:
            self._best = top1
            self._weights.save(self._model, self._number)
        return top1


def _out_of_memory(error: BaseException) -> bool:
    """Say whether an allocation failed; PyTorch has no type of its own for the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(
        error
    )
