"""Measures how merging tokens changes prices, from a few architectures.

Multiply-accumulates and memory are exact for each architecture (``cost.merging_work``). Two numbers
are measured: how the time falls with the multiply-accumulates, and how long matching the tokens of
a block takes. Both are fitted to architectures that merge early and late, with all of their
attention and with half.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import nn

from lambda_nas.cost.measurement import Price, measure_prices
from lambda_nas.cost.merged_prices import MergedPrices
from lambda_nas.cost.merging_work import measure_merging_work
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.cost.profiling import draw_sample
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.models.surgery import remove_attention
from lambda_nas.token_merging.blocks import merge_tokens

MOST_POWER = 2.0
"""Fewer tokens fit into caches better, so time may fall faster than work; beyond this is noise."""


def price_mergings(
    model: nn.Module,
    prices: PriceTable,
    search_space: SearchSpace,
    images: ImageSet,
    *,
    batch_size: int,
    device: str,
    on_step: Callable[[int, int], None] | None = None,
) -> MergedPrices:
    """Measure the prices of ways to merge tokens.

    Args:
        model: The unpruned model, an isotropic ViT.
        prices: The prices without merging.
        search_space: The search space with the ways to merge tokens.
        images: Images to run.
        batch_size: Images per forward pass.
        device: Where to measure.
        on_step: Called after each round with the number of rounds done and of all.

    Raises:
        UnsupportedModelError: If the model can't merge tokens.
        InputError: If a merging starts where no block has attention.
    """
    sample = draw_sample(images, batch_size, device)
    timed = _timed(prices, search_space)
    models = [model.to(device), *(_build(model, each).to(device) for each in timed)]
    measured = measure_prices(models, [sample] * len(models), on_step=on_step)[1:]
    numbers = sorted({merging.r for merging in search_space.mergings})
    works = {r: measure_merging_work(model, r, sample) for r in numbers}
    unfitted = replace(prices, merged=MergedPrices(1.0, 0.0, search_space.mergings, works))
    return fit_time(unfitted, dict(zip(timed, measured, strict=True)))


def fit_time(prices: PriceTable, measured: Mapping[Architecture, Price]) -> MergedPrices:
    """Fit the power and the overhead to measured times by least squares.

    Args:
        prices: Prices with any power and overhead.
        measured: Prices of architectures that merge, measured against the unpruned model.
    """
    merged = prices.merged
    assert merged is not None

    def fitted(found: NDArray[np.float64]) -> MergedPrices:
        power, overhead = found.tolist()
        return replace(merged, power=power, overhead=overhead)

    def errors(found: NDArray[np.float64]) -> list[float]:
        predicted = replace(prices, merged=fitted(found))
        return [
            1 / predicted.of(each).speedup - 1 / price.speedup for each, price in measured.items()
        ]

    bounds = (0.0, 0.0), (MOST_POWER, np.inf)
    return fitted(least_squares(errors, (1.0, 0.0), bounds=bounds).x)


def _timed(prices: PriceTable, search_space: SearchSpace) -> list[Architecture]:
    """Return, per merging, all of the attention and that of either half where it may be removed."""
    attention = prices.attention()
    (most,) = max(prices.by_signature)
    half = min(most, len(attention) // 2)
    removals = [attention[:0], attention[:half], attention[len(attention) - half :]]
    return [
        Architecture(removal, merging)
        for removal in dict.fromkeys(map(RemovalSet.of, removals))
        for merging in search_space.mergings_of(removal, attention)
        if merging
    ]


def _build(model: nn.Module, architecture: Architecture) -> nn.Module:
    without = remove_attention(model, architecture.removal).model
    return merge_tokens(without, architecture.merging)
