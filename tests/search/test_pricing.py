import numpy as np
import pytest

from lambda_nas.core.cost import Price, count_macs
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import count_params, remove_attention
from lambda_nas.search.pricing import price_signatures, straighten


def test_times_are_the_best_line_through_the_unpruned_model():
    relative = {0: 1.0, 1: 0.99, 2: 0.93, 4: 0.89}
    prices = {
        size: Price(50 / time, 1 / time, 640 * time, 900 - size, 90 - size, 9 - size)
        for size, time in relative.items()
    }
    sizes = np.array([1.0, 2.0, 4.0])
    (slope,), *_ = np.linalg.lstsq(sizes[:, None], np.array([-0.01, -0.07, -0.11]))
    for size, price in straighten(prices).items():
        assert price.speedup == pytest.approx(1 / (1 + slope * size))
        assert price.throughput == pytest.approx(50 * price.speedup)
        assert price.latency_ms == pytest.approx(640 / price.speedup)
        assert (price.memory_bytes, price.params, price.macs) == (900 - size, 90 - size, 9 - size)


def test_each_number_of_layers_has_a_price(source):
    model, images = source.model.model, source.data.evaluation
    steps = []
    prices = price_signatures(
        model,
        (0, 2, 3),
        (1, 3),
        images,
        batch_size=32,
        device="cpu",
        on_step=lambda *step: steps.append(step),
    )
    assert list(prices) == [0, 1, 3]
    assert prices[0].speedup == 1
    assert steps[-1][0] == steps[-1][1] == len(steps)
    ((sample, _),) = images.batches(len(images))
    pruned = remove_attention(model, RemovalSet.of([0, 2, 3])).model
    assert prices[3].params == count_params(pruned)
    assert prices[3].macs == count_macs(pruned, sample[:1])
    assert prices[3].memory_bytes < prices[1].memory_bytes < prices[0].memory_bytes
