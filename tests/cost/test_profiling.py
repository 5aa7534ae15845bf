import numpy as np
import pytest
import timm
import torch

from lambda_nas.cost import profiling
from lambda_nas.cost.measurement import Price, count_macs, peak_memory
from lambda_nas.cost.price_table import signatures_up_to
from lambda_nas.cost.profiling import count_signature_params, price_signatures, time_saved
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.stages import find_stages
from lambda_nas.models.surgery import count_params, remove_attention

pytestmark = pytest.mark.usefixtures("few_rounds")


def prices(times):
    return {
        signature: Price(1 / time, 1 / time, time, 9, 9, 9) for signature, time in times.items()
    }


def test_times_are_the_best_line_through_the_unpruned_model():
    (slope,), *_ = np.linalg.lstsq(
        np.array([[1.0], [2.0], [4.0]]), np.array([0.01, 0.07, 0.11]), rcond=None
    )
    found = time_saved(prices({(0,): 1.0, (1,): 0.99, (2,): 0.93, (4,): 0.89}))
    assert found == pytest.approx([slope])


def test_times_are_sums_over_stages_and_nothing_slows_a_model_down():
    times = {(0, 0): 1.0, (2, 0): 0.8, (0, 4): 0.6, (2, 4): 0.4}
    assert time_saved(prices(times)) == pytest.approx([0.1, 0.1])
    assert time_saved(prices({(0, 0): 1.0, (2, 0): 1.02, (0, 4): 0.6})) == pytest.approx([0, 0.1])


def test_four_quarters_of_the_layers_are_timed_and_the_line_is_fitted_to_all(source, monkeypatch):
    model, images = source.model.model, source.data.evaluation
    whole, layer = count_params(model), count_params(model) - count_params(without(model, 0))
    timed = []

    def measure(models, samples, on_step=None):
        gone = [(whole - count_params(each)) // layer for each in models]
        timed.extend(gone)
        # A tenth of the time per layer; what is timed alone is off by the machine's noise.
        times = [1 - 0.1 * n + {1: 0.04, 2: -0.03, 3: 0.01, 4: 0.02}.get(n, 0) for n in gone]
        return [Price(1 / t, 1 / t, t, 9, 9, 9) for t in times]

    monkeypatch.setattr(profiling, "measure_prices", measure)
    signatures = [(n,) for n in range(5)]
    stages = ((0, 1, 2, 3),)
    found = price_signatures(model, stages, signatures, images, batch_size=4, device="cpu")
    assert timed == [0, 1, 2, 3, 4]
    slope = (1 * 0.06 + 2 * 0.23 + 3 * 0.29 + 4 * 0.38) / (1 + 4 + 9 + 16)
    times = [1 / price.speedup for price in found.by_signature.values()]
    assert times == pytest.approx([1 - slope * n for n in range(5)])


def without(model, *layers):
    return remove_attention(model, RemovalSet.of(layers)).model


def test_each_number_of_layers_has_a_price(source):
    model, images = source.model.model, source.data.evaluation
    ((sample, _),) = images.batches(len(images))
    stages = find_stages(model, sample[:1])
    assert stages == ((0, 1, 2, 3),)
    signatures = signatures_up_to(stages, (0, 2, 3), 3)
    assert signatures == [(0,), (1,), (2,), (3,)]
    steps = []
    prices = price_signatures(
        model,
        stages,
        signatures,
        images,
        batch_size=32,
        device="cpu",
        on_step=lambda *step: steps.append(step),
    )
    assert list(prices.by_signature) == signatures
    assert prices.unpruned.speedup == 1
    assert steps[-1][0] == steps[-1][1] == len(steps)
    removal = RemovalSet.of([0, 2, 3])
    pruned = remove_attention(model, removal).model
    price, batch = prices.of(Architecture(removal)), torch.cat([sample, sample[:12]])
    assert price.params == count_params(pruned)
    assert price.macs == count_macs(pruned, sample[:1])
    assert price.memory_bytes == peak_memory(pruned, batch)
    assert price.memory_bytes < prices.unpruned.memory_bytes
    assert price.throughput == pytest.approx(price.speedup * prices.unpruned.throughput)
    assert price.latency_ms == pytest.approx(32_000 / price.throughput)


@pytest.fixture(scope="module")
def swin():
    torch.manual_seed(0)
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=16,
        patch_size=2,
        window_size=2,
        embed_dim=16,
        depths=(2, 3),
        num_heads=(2, 4),
    ).eval()


@pytest.fixture(scope="module")
def images():
    pixels = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(4, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


def test_each_signature_of_a_hierarchical_model_has_a_price(swin, images):
    stages = find_stages(swin, torch.zeros(1, 3, 16, 16))
    assert stages == ((0, 1), (2, 3, 4))
    signatures = signatures_up_to(stages, range(5), 4)
    assert len(signatures) == 3 * 4 - 1
    prices = price_signatures(swin, stages, signatures, images, batch_size=4, device="cpu")
    sample = torch.zeros(4, 3, 16, 16)
    for layers in ([0], [2], [0, 1], [0, 2, 3], [2, 3, 4], [0, 2, 3, 4]):
        removal = RemovalSet.of(layers)
        pruned, price = remove_attention(swin, removal).model, prices.of(Architecture(removal))
        assert price.params == count_params(pruned)
        assert price.macs == count_macs(pruned, sample[:1])
        assert price.memory_bytes == pytest.approx(peak_memory(pruned, sample), rel=1e-3)


def test_parameters_are_known_before_anything_runs(swin):
    counted = count_signature_params(swin, ((0, 1), (2, 3, 4)), [(1, 0), (0, 2)])
    expected = [remove_attention(swin, RemovalSet.of(s)).model for s in ([1], [2, 4])]
    assert list(counted.values()) == list(map(count_params, expected))


def test_windowed_and_global_attention_of_one_model_are_no_stage():
    model = timm.create_model(
        "samvit_base_patch16",
        img_size=64,
        patch_size=16,
        embed_dim=16,
        depth=4,
        num_heads=2,
        window_size=2,
        global_attn_indexes=(1, 3),
    )
    assert find_stages(model, torch.zeros(1, 3, 64, 64)) == ((0, 2), (1, 3))
