"""Prices with tokens merged, against networks that really merge."""

from dataclasses import replace

import pytest
import timm
import torch
from all_sets import every_set

from lambda_nas.cost.constraints import _cheapest
from lambda_nas.cost.measurement import Price, count_macs, peak_memory
from lambda_nas.cost.merging_profiling import fit_time, price_mergings
from lambda_nas.cost.price_table import PriceTable
from lambda_nas.cost.profiling import price_signatures
from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.models.surgery import count_params, remove_attention
from lambda_nas.token_merging.blocks import merge_tokens

MERGINGS = (Merging(3), Merging(6, start=2))
SPACE = SearchSpace((0, 1, 2, 3, 4), MERGINGS)
STAGES = ((0, 1, 2, 3, 4),)
BATCH = 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 5, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", **shape).eval()


@pytest.fixture(scope="module")
def images():
    pixels = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(BATCH, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def prices(model, images, few_rounds):
    how = {"batch_size": BATCH, "device": "cpu"}
    unmerged = price_signatures(model, STAGES, [(n,) for n in range(5)], images, **how)
    return replace(unmerged, merged=price_mergings(model, unmerged, SPACE, images, **how))


@pytest.mark.parametrize("merging", MERGINGS, ids=str)
@pytest.mark.parametrize(
    "layers", [(), (0,), (1,), (0, 1), (3, 4), (0, 2, 4), (0, 1, 2, 3), (1, 2)]
)
def test_all_but_the_time_is_exact(model, images, prices, merging, layers):
    one = Architecture.of(layers, merging)
    pruned = remove_attention(model, one.removal).model if layers else model
    merged, ((sample, _),) = merge_tokens(pruned, merging), images.batches(BATCH)
    price = prices.of(one)
    assert price.params == count_params(merged)
    assert price.macs == count_macs(merged, sample[:1])
    assert price.memory_bytes == peak_memory(merged, sample)
    assert price.throughput == pytest.approx(price.speedup * prices.unpruned.throughput)
    assert price.latency_ms == pytest.approx(1000 * BATCH / price.throughput)


def test_merging_early_saves_more_and_nothing_is_slower_than_its_overhead(prices):
    early, late = (prices.of(Architecture.of(layers, MERGINGS[0])) for layers in ([4], [0]))
    assert early.macs < late.macs
    assert early.memory_bytes <= late.memory_bytes
    assert 0 <= prices.merged.power <= 2
    assert prices.merged.overhead >= 0


def test_a_way_to_merge_without_a_price_has_none(prices):
    with pytest.raises(KeyError, match="merging 5 from block 0"):
        prices.of(Architecture.of([0], Merging(5)))
    with pytest.raises(KeyError, match=f"{MERGINGS[0]}"):
        replace(prices, merged=None).of(Architecture.of([0], MERGINGS[0]))


def test_the_times_fitted_are_those_that_were_measured(prices):
    truth = replace(prices, merged=replace(prices.merged, power=1.2, overhead=0.01))
    measured = {
        one: truth.of(one)
        for merging in MERGINGS
        for one in (Architecture.of((), merging), Architecture.of([0, 1], merging))
    }
    found = fit_time(prices, measured)
    assert (found.power, found.overhead) == pytest.approx((1.2, 0.01), rel=1e-3)


def test_noise_makes_no_time_negative(prices):
    fast = Price(1e6, 1000.0, 0.01, 9, 9, 9)
    found = fit_time(prices, {Architecture.of((), merging): fast for merging in MERGINGS})
    assert found.power == pytest.approx(2.0)
    assert found.overhead == pytest.approx(0.0, abs=1e-6)
    noisy = replace(prices, merged=found)
    assert 0 < noisy.of(Architecture.of([1, 2, 3, 4], MERGINGS[0])).speedup < 100


@pytest.mark.parametrize("merging", MERGINGS, ids=str)
@pytest.mark.parametrize("number", range(5))
def test_the_cheapest_of_so_many_layers_is_known_without_looking_at_all(prices, merging, number):
    every = [Architecture(removal, merging) for removal in every_set(range(5), (number,))]
    merging_ones = [one for one in every if max({*range(5)} - {*one.removal}) >= merging.start]
    cheapest = prices.of(_cheapest(number, merging, prices, SPACE))
    assert cheapest.macs == min(prices.of(one).macs for one in merging_ones)
    assert cheapest.memory_bytes == min(prices.of(one).memory_bytes for one in merging_ones)


def test_a_model_that_cant_merge_is_refused(images):
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, global_pool="avg")
    priced = PriceTable.by_number((0, 1), {n: Price(1, 1, 1, 9, 9, 9) for n in range(2)})
    with pytest.raises(UnsupportedModelError, match="global_pool 'avg'"):
        price_mergings(model.eval(), priced, SPACE, images, batch_size=BATCH, device="cpu")
