"""What an architecture costs on this hardware: throughput, memory, parameters, MACs."""

import math
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from lambda_nas.models.surgery import count_params

MIN_TIMED_S = 0.05
"""A small model is run often enough in a row to fill this, so that noise averages out."""

ROUNDS_S = 60.0
MIN_ROUNDS = 5
MAX_ROUNDS = 25


@dataclass(frozen=True)
class Price:
    """The cost of an architecture at one batch size.

    Attributes:
        throughput: Images a second, ``speedup`` times the median of the unpruned model.
        speedup: Over the unpruned model, the median of the ratios within each interleaved round.
        latency_ms: Of one batch.
        memory_bytes: At the peak of one forward, weights and input included.
        params: Number of parameters.
        macs: Multiply-accumulates of one image.
    """

    throughput: float
    speedup: float
    latency_ms: float
    memory_bytes: int
    params: int
    macs: int


def measure_prices(
    models: Sequence[nn.Module],
    samples: Sequence[Tensor],
    *,
    seconds: float = ROUNDS_S,
    on_step: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Price]:
    """Price models against the first one, each round running all of them in turn.

    After a round of warm-up, as many rounds are timed as fit into the seconds, within
    ``MIN_ROUNDS`` and ``MAX_ROUNDS``; medians are reported.

    Args:
        models: On the device of their samples, put in eval mode; the first is the reference.
        samples: An input ``[batch, channels, height, width]`` for each model.
        seconds: That the rounds may take.
        on_step: Called after each round with rounds done and in all.
        clock: Gives seconds.
    """
    warmup = [
        _time_forwards(model.eval(), sample, 1, clock)
        for model, sample in zip(models, samples, strict=True)
    ]
    runs = [max(1, math.ceil(MIN_TIMED_S / forward)) for forward in warmup]
    round_s = sum(forward * number for forward, number in zip(warmup, runs, strict=True))
    rounds = min(max(MIN_ROUNDS, int(seconds / round_s)), MAX_ROUNDS)
    times: list[list[float]] = [[] for _ in models]
    for done in range(1, rounds + 1):
        for model, sample, number, taken in zip(models, samples, runs, times, strict=True):
            taken.append(_time_forwards(model, sample, number, clock))
        if on_step:
            on_step(done, rounds)
    references = [forward / len(samples[0]) for forward in times[0]]
    return [
        _price(model, sample, taken, references)
        for model, sample, taken in zip(models, samples, times, strict=True)
    ]


def _price(
    model: nn.Module, sample: Tensor, times: Sequence[float], references: Sequence[float]
) -> Price:
    """Sum up a model's rounds: seconds a batch, and the reference's seconds an image in each."""
    # A ratio within each round: what slows the machine down slows both. Throughput follows from
    # it, so that no table calls one model faster by one column and slower by the other.
    speedup = statistics.median(
        reference / (own / len(sample)) for reference, own in zip(references, times, strict=True)
    )
    throughput = speedup / statistics.median(references)
    return Price(
        throughput=throughput,
        speedup=speedup,
        latency_ms=1000 * len(sample) / throughput,
        memory_bytes=peak_memory(model, sample),
        params=count_params(model),
        macs=count_macs(model, sample[:1]),
    )


@torch.inference_mode()
def _time_forwards(
    model: nn.Module, sample: Tensor, runs: int, clock: Callable[[], float]
) -> float:
    """Return the seconds of one forward, as the mean of ``runs`` in a row."""
    if sample.is_cuda:
        torch.cuda.synchronize(sample.device)
    start = clock()
    for _ in range(runs):
        model(sample)
    if sample.is_cuda:
        torch.cuda.synchronize(sample.device)
    return (clock() - start) / runs


@torch.inference_mode()
def count_macs(model: nn.Module, sample: Tensor) -> int:
    """Count multiply-accumulates of one forward: matrix products, convolutions, attention."""
    with FlopCounterMode(display=False) as counter:
        model(sample)
    return counter.get_total_flops() // 2


def peak_memory(model: nn.Module, sample: Tensor) -> int:
    """Return the bytes at the peak of one forward, weights and input included.

    On CUDA this is the allocator's peak above what other objects hold; on the CPU, where the
    allocator doesn't say, the exact bytes of all live tensors.
    """
    owned = [*model.parameters(), *model.buffers(), sample]
    if sample.is_cuda:
        return _peak_cuda(model, sample, storage_bytes(owned))
    with torch.no_grad(), _LiveBytes(owned) as live:
        model(sample)
    return live.peak


@torch.inference_mode()
def _peak_cuda(model: nn.Module, sample: Tensor, owned: int) -> int:
    torch.cuda.synchronize(sample.device)
    torch.cuda.reset_peak_memory_stats(sample.device)
    before = torch.cuda.memory_allocated(sample.device)
    model(sample)
    torch.cuda.synchronize(sample.device)
    return owned + torch.cuda.max_memory_allocated(sample.device) - before


def storage_bytes(tensors: Sequence[Tensor]) -> int:
    """Return the bytes of all that the tensors lie in, shared ones once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that an operator returns until it is freed."""

    def __init__(self, owned: Sequence[Tensor]) -> None:
        super().__init__()
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._now = 0
        self.peak = 0
        for tensor in owned:
            self._track(tensor)

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._track(value)
        return result

    def _track(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        # A storage's Python object lives as long as its memory does; the reference to it goes
        # with this counter, so weights that outlive the counter keep no trace of it.
        self._live[key] = weakref.ref(storage, lambda _: self._free(key, size))

    def _free(self, key: int, size: int) -> None:
        del self._live[key]
        self._now -= size
