"""Prices by cost signature: in an isotropic ViT only the number of removed layers matters."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from lambda_nas.core.cost import Price, measure_prices
from lambda_nas.core.data import ImageSet
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import count_params, remove_attention


def price_signatures(
    model: nn.Module,
    layers: Sequence[int],
    sizes: Sequence[int],
    images: ImageSet,
    *,
    batch_size: int,
    device: str,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[int, Price]:
    """Price the unpruned model (0) and one architecture for each number of removed layers.

    All are measured in one interleaved run, so that the ratios hold on a busy machine too, and
    put on a line: see ``straighten``.
    """
    repeated = torch.arange(batch_size) % len(images)
    sample, _ = next(images.subset(repeated).batches(batch_size, device=device))
    wanted = [0, *(size for size in sizes if size > 0)]
    models = [
        remove_attention(model, RemovalSet.of(layers[:size])).model.eval().to(device)
        for size in wanted
    ]
    prices = measure_prices(models, [sample] * len(models), on_step=on_step)
    return straighten(dict(zip(wanted, prices, strict=True)))


def count_signature_params(
    model: nn.Module, layers: Sequence[int], sizes: Sequence[int]
) -> dict[int, int]:
    """Return the parameters left for each number of removed layers; nothing is run for it."""
    unpruned = count_params(model)
    return {
        size: unpruned - remove_attention(model, RemovalSet.of(layers[:size])).params_removed
        for size in sizes
    }


def straighten(prices: dict[int, Price]) -> dict[int, Price]:
    """Put the time of a forward on one line over the number of removed layers.

    The attention layers of an isotropic ViT cost the same, so whatever departs from a line is the
    machine's noise, and that can be larger than the gain of one layer.
    The line goes through the unpruned model and is the least squares fit to all others.
    """
    unpruned = prices[0]
    slope = sum(size * (1 / price.speedup - 1) for size, price in prices.items()) / sum(
        size**2 for size in prices
    )
    speedups = {size: 1 / (1 + slope * size) for size in prices}
    return {
        size: replace(
            price,
            throughput=unpruned.throughput * speedups[size],
            speedup=speedups[size],
            latency_ms=unpruned.latency_ms / speedups[size],
        )
        for size, price in prices.items()
    }
