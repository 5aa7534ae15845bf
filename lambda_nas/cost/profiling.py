"""Measures the prices of all cost signatures, from a few architectures.

The layers of a stage take the same time, so the time that a signature saves is a sum over its
stages. Any departure from that is the machine's noise, which can be larger than the gain of one
layer. So few architectures are timed, many times each. Of an isotropic ViT they remove a quarter,
half, three quarters and all of the layers that may be removed at once; of other models, all layers,
and all but those of one stage. These determine the memory too: a forward pass reaches its peak in
some stage, and takes no more memory there without the stage's attention than with it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from lambda_nas.cost.measurement import Price, measure_prices, storage_bytes
from lambda_nas.cost.price_table import PriceTable, Signature, representative
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.stages import Stages
from lambda_nas.models.surgery import count_params, remove_attention


def price_signatures(
    model: nn.Module,
    stages: Stages,
    signatures: Sequence[Signature],
    images: ImageSet,
    *,
    batch_size: int,
    device: str,
    on_step: Callable[[int, int], None] | None = None,
) -> PriceTable:
    """Measure the prices of signatures, including the unpruned model's.

    All architectures are timed in one interleaved run, so that the ratios hold on a busy machine.
    """
    sample = draw_sample(images, batch_size, device)
    timed = _timed(stages, signatures)
    models = [_build(model, stages, signature, device) for signature in timed]
    prices = measure_prices(models, [sample] * len(models), on_step=on_step)
    return compose(model, stages, signatures, dict(zip(timed, prices, strict=True)))


def draw_sample(images: ImageSet, batch_size: int, device: str) -> Tensor:
    """Return a batch, ``[batch, channels, height, width]``; too few images are repeated."""
    repeated = torch.arange(batch_size) % len(images)
    sample, _ = next(images.subset(repeated).batches(batch_size, device=device))
    return sample


def compose(
    model: nn.Module,
    stages: Stages,
    signatures: Sequence[Signature],
    timed: Mapping[Signature, Price],
) -> PriceTable:
    """Compute the prices of signatures from those that were timed."""
    unpruned = timed[(0,) * len(stages)]
    slopes = time_saved(timed)
    weigh = _Weigh(model, stages)
    activations: dict[tuple[int, ...], int] = {
        _attending(signature, stages): price.memory_bytes - weigh.bytes(signature)
        for signature, price in timed.items()
    }
    macs = _linear({signature: unpruned.macs - price.macs for signature, price in timed.items()})
    prices = {}
    for signature in signatures:
        # Each stage that attends takes as much as if it alone attended.
        parts = [activations[(stage,)] for stage in _attending(signature, stages)]
        speedup = 1 / (1 - float(np.dot(slopes, signature)))
        prices[signature] = replace(
            unpruned,
            throughput=unpruned.throughput * speedup,
            speedup=speedup,
            latency_ms=unpruned.latency_ms / speedup,
            memory_bytes=max(parts or [activations[()]]) + weigh.bytes(signature),
            params=weigh.params(signature),
            macs=unpruned.macs - round(float(np.dot(macs, signature))),
        )
    return PriceTable(stages, prices)


def time_saved(timed: Mapping[Signature, Price]) -> np.ndarray:
    """Return the share of a forward pass's time that removing one layer of each stage saves.

    This is the least squares fit to all timed signatures; it is never negative.
    """
    return _linear({signature: 1 - 1 / price.speedup for signature, price in timed.items()})


def count_signature_params(
    model: nn.Module, stages: Stages, signatures: Iterable[Signature]
) -> dict[Signature, int]:
    """Return the number of parameters of each signature; nothing is run."""
    weigh = _Weigh(model, stages)
    return {signature: weigh.params(signature) for signature in signatures}


class _Weigh:
    """Computes how many weights a signature leaves, from the weights of each layer."""

    def __init__(self, model: nn.Module, stages: Stages) -> None:
        self._stages = stages
        self._whole = self._of(model)
        self._without = {
            layer: self._of(remove_attention(model, RemovalSet.of([layer])).model)
            for layer in chain(*stages)
        }

    def params(self, signature: Signature) -> int:
        return self._left(signature, 0)

    def bytes(self, signature: Signature) -> int:
        """Return the bytes of parameters and buffers."""
        return self._left(signature, 1)

    def _left(self, signature: Signature, kind: int) -> int:
        gone = representative(signature, self._stages)
        whole = self._whole[kind]
        return whole - sum(whole - self._without[layer][kind] for layer in gone)

    @staticmethod
    def _of(model: nn.Module) -> tuple[int, int]:
        return count_params(model), storage_bytes([*model.parameters(), *model.buffers()])


def _timed(stages: Stages, signatures: Sequence[Signature]) -> list[Signature]:
    unpruned = (0,) * len(stages)
    if len(stages) == 1:
        ((most,),) = signatures[-1:]
        quarters = sorted({-(-most * quarter // 4) for quarter in (1, 2, 3, 4)})
        return [unpruned, *((number,) for number in quarters)]
    whole = tuple(map(len, stages))
    all_but_one = [
        tuple(0 if other == stage else number for other, number in enumerate(whole))
        for stage in range(len(stages))
    ]
    return [unpruned, *all_but_one, whole]


def _build(model: nn.Module, stages: Stages, signature: Signature, device: str) -> nn.Module:
    return remove_attention(model, representative(signature, stages)).model.to(device)


def _attending(signature: Signature, stages: Stages) -> tuple[int, ...]:
    """Return the stages that have attention left."""
    return tuple(
        index
        for index, (gone, stage) in enumerate(zip(signature, stages, strict=True))
        if gone < len(stage)
    )


def _linear(saved: Mapping[Signature, float]) -> np.ndarray:
    """Return the saving per layer of each stage by non-negative least squares."""
    solution, _ = nnls(np.array(list(saved), float), np.array(list(saved.values()), float))
    return solution
