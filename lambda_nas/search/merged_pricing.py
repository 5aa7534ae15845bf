"""Measures what merging tokens takes off a price, from a few architectures.

Multiply-accumulates and memory are exact, for each architecture (``core.merging_work``). Two
numbers are measured: how the time falls with the multiply-accumulates, and how much matching the
tokens of a block takes. Both are fitted to architectures that merge early and late, with all of
their attention and half.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import nn

from lambda_nas.core.architecture import Architecture
from lambda_nas.core.cost import Price, measure_prices
from lambda_nas.core.data import ImageSet
from lambda_nas.core.merging import Merging, merge_tokens
from lambda_nas.core.merging_work import MergingWork, measure_merging_work
from lambda_nas.core.surgery import remove_attention
from lambda_nas.search.merged_prices import MergedPrices
from lambda_nas.search.prices import PriceList
from lambda_nas.search.pricing import draw_sample

MOST_POWER = 2.0
"""Fewer tokens than in proportion also fit better into caches; beyond this it is noise."""


def price_mergings(
    model: nn.Module,
    prices: PriceList,
    mergings: Sequence[Merging],
    images: ImageSet,
    *,
    batch_size: int,
    device: str,
    on_step: Callable[[int, int], None] | None = None,
) -> MergedPrices:
    """Price ways to merge tokens.

    Args:
        model: The unpruned model, an isotropic ViT.
        prices: Without merging.
        mergings: The ways.
        images: To run.
        batch_size: Images a forward.
        device: Where to measure.
        on_step: Called after each round with rounds done and in all.

    Raises:
        UnsupportedModelError: If the model can't merge tokens.
        InputError: If a merging starts where no block has attention.
    """
    sample = draw_sample(images, batch_size, device)
    timed = _timed(prices, mergings)
    models = [model.to(device), *(_build(model, one).to(device) for one in timed)]
    measured = measure_prices(models, [sample] * len(models), on_step=on_step)[1:]
    works = {each: measure_merging_work(model, each, sample) for each in mergings}
    power, overhead = fit_time(prices, works, dict(zip(timed, measured, strict=True)))
    return MergedPrices(power, overhead, tuple(works.items()))


def fit_time(
    prices: PriceList,
    works: dict[Merging, MergingWork],
    measured: dict[Architecture, Price],
) -> tuple[float, float]:
    """Return ``power`` and ``overhead`` of ``MergedPrices``, by least squares.

    Args:
        prices: Without merging.
        works: Of each merging.
        measured: What architectures that merge cost, against the unpruned model.
    """
    rows = []
    for one, price in measured.items():
        unmerged = prices.of(Architecture(one.removal))
        attending = [block for block in prices.attention() if block not in one.removal]
        left = 1 - works[one.merging].macs_saved(attending) / unmerged.macs
        merges = sum(block >= one.merging.start for block in attending)
        rows.append((left, 1 / unmerged.speedup, merges, 1 / price.speedup))
    left, unmerged_time, merges, time = np.array(rows).T

    def errors(found: NDArray[np.float64]) -> NDArray[np.float64]:
        return left ** found[0] * unmerged_time + found[1] * merges - time

    found = least_squares(errors, (1.0, 0.0), bounds=((0.0, 0.0), (MOST_POWER, np.inf)))
    power, overhead = found.x.tolist()
    return power, overhead


def _timed(prices: PriceList, mergings: Sequence[Merging]) -> list[Architecture]:
    """Return with each merging all the attention, and that of either half where it can go."""
    attention = prices.attention()
    ((most,),) = [max(prices.by_signature)]
    half = min(most, len(attention) // 2)
    removals = [attention[:0], attention[:half], attention[len(attention) - half :]]
    return list(
        dict.fromkeys(
            Architecture.of(removed, merging)
            for merging in mergings
            for removed in removals
            if any(block >= merging.start and block not in removed for block in attention)
        )
    )


def _build(model: nn.Module, one: Architecture) -> nn.Module:
    pruned = remove_attention(model, one.removal).model if one.removal else model
    return merge_tokens(pruned, one.merging)
