"""Measures what a model costs on this hardware: throughput, memory, parameters, MACs."""

import math
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from lambda_nas.models.surgery import count_params

MIN_TIMED_S = 0.05
"""Minimum time of one timing: a small model is run repeatedly, so that noise averages out."""

ROUNDS_S = 60.0
MIN_ROUNDS = 5
MAX_ROUNDS = 25


@dataclass(frozen=True)
class Price:
    """The cost of an architecture at one batch size.

    Attributes:
        throughput: Images per second: ``speedup`` times the unpruned model's median.
        speedup: Speed-up over the unpruned model: the median of the ratios in each round.
        latency_ms: Time of one batch.
        memory_bytes: Peak memory of one forward pass, weights and input included.
        params: Number of parameters.
        macs: Multiply-accumulates per image.
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
    """Price models relative to the first one, running all of them in turn in each round.

    After one warm-up round, as many rounds are timed as fit into ``seconds``, at least
    ``MIN_ROUNDS`` and at most ``MAX_ROUNDS``; the medians are returned.

    Args:
        models: The models, which are put in eval mode; the first is the reference.
        samples: An input ``[batch, channels, height, width]`` on the device of each model.
        seconds: Time limit for the rounds.
        on_step: Called after each round with the number of rounds done and the total.
        clock: Returns the time in seconds.
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
    """Return a model's price from its seconds per batch and the reference's seconds per image."""
    # The ratio is taken within each round, because what slows the machine slows both models.
    # Throughput follows from it, so that the two columns of a table never disagree.
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
    """Return the mean time of ``runs`` consecutive forward passes, in seconds."""
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
    """Count the multiply-accumulates of a forward pass in products, convolutions, attention."""
    # PyTorch 2.6 does not count within the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(sample)
    return counter.get_total_flops() // 2


def peak_memory(model: nn.Module, sample: Tensor) -> int:
    """Return the peak memory of one forward pass in bytes, weights and input included.

    On CUDA this is the allocator's peak without the memory of other objects; on the CPU, whose
    allocator keeps no count, it is the exact size of all live tensors.
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
    """Return the bytes of the tensors' storages, counting shared ones once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that an operator returns, until the storage is freed."""

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
        # A storage's Python object lives as long as its memory. The counter holds the reference,
        # so weights that outlive the counter keep no callback.
        self._live[key] = weakref.ref(storage, lambda _: self._free(key, size))

    def _free(self, key: int, size: int) -> None:
        del self._live[key]
        self._now -= size
