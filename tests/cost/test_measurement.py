"""Prices: exact bytes and multiply-accumulates by hand, times from a clock of our own."""

import pytest
import torch
from torch import nn

from lambda_nas.cost.measurement import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    count_macs,
    measure_prices,
    peak_memory,
)
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import count_params, remove_attention

FLOAT = 4
TOKENS, WIDTH, CLASSES, DEPTH, PATCH = 17, 16, 5, 4, 3 * 4 * 4
WEIGHTS = (4 * 8 + 8 + 8 * 2 + 2) * FLOAT


def attention_macs():
    projections = TOKENS * WIDTH * 3 * WIDTH + TOKENS * WIDTH * WIDTH
    return projections + 2 * TOKENS * TOKENS * WIDTH  # q @ k and attention @ v


class Clock:
    """Tells scripted times: each forward takes the next of ``seconds``."""

    def __init__(self, seconds):
        self._ticks = iter([tick for second in seconds for tick in (0.0, second)])

    def __call__(self):
        return next(self._ticks)


def test_memory_of_two_linears():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    sample = torch.randn(3, 4)
    # The peak is at the ReLU: weights, sample, its input and its output.
    assert peak_memory(model, sample) == WEIGHTS + (3 * 4 + 3 * 8 + 3 * 8) * FLOAT


def test_memory_in_place():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    assert peak_memory(model, torch.randn(3, 4)) == WEIGHTS + (3 * 4 + 3 * 8 + 3 * 2) * FLOAT


def test_what_is_freed_does_not_add_up():
    chain = nn.Sequential(*[nn.ReLU() for _ in range(20)])
    assert peak_memory(chain, torch.randn(10)) == 3 * 10 * FLOAT


def test_views_and_shared_weights_count_once():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))
            self.tied = self.weight
            self.register_buffer("part", self.weight.detach()[:2])

        def forward(self, x):
            return x.view(6, 2).t().expand(3, 2, 6)[1:].detach()

    assert peak_memory(Views(), torch.randn(2, 6)) == (6 * 6 + 2 * 6) * FLOAT


def test_memory_repeats_and_leaves_nothing_behind(make_vit, pixels):
    model = make_vit()
    assert len({peak_memory(model, pixels) for _ in range(3)}) == 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_removal_saves_the_weights_at_least(make_vit, pixels):
    model = make_vit()
    surgery = remove_attention(model, RemovalSet.of(range(4)))
    saved = peak_memory(model, pixels) - peak_memory(surgery.model, pixels)
    assert saved >= surgery.params_removed * FLOAT


def test_macs_of_the_whole(make_vit, pixels):
    mlp = 2 * TOKENS * WIDTH * 4 * WIDTH
    embedding, head = 16 * PATCH * WIDTH, WIDTH * CLASSES
    whole = embedding + DEPTH * (attention_macs() + mlp) + head
    model = make_vit()
    assert count_macs(model, pixels[:1]) == whole
    pruned = remove_attention(model, RemovalSet.of([0, 2, 3])).model
    assert count_macs(pruned, pixels[:1]) == whole - 3 * attention_macs()


def test_times_become_prices(make_vit, pixels):
    model = make_vit()
    pruned = remove_attention(model, RemovalSet.of([0, 1])).model.train()
    # The first is warm-up, so slow that only the least number of rounds follows.
    rounds = [(9.0, 9.0), (0.3, 0.1), (0.6, 0.3), (0.3, 0.15), (0.9, 0.3), (0.2, 0.1)]
    clock = Clock([second for pair in rounds for second in pair])
    steps = []
    reference, other = measure_prices(
        [model, pruned], [pixels] * 2, clock=clock, on_step=lambda *step: steps.append(step)
    )
    assert steps == [(done, MIN_ROUNDS) for done in range(1, 6)]
    assert reference.speedup == 1.0
    assert reference.throughput == pytest.approx(3 / 0.3)
    assert reference.latency_ms == pytest.approx(300)
    assert other.speedup == pytest.approx(2.0)  # the median of 3, 2, 2, 3 and 2
    assert other.latency_ms == pytest.approx(150)
    assert other.params == count_params(pruned)
    assert other.macs == count_macs(pruned, pixels[:1])
    assert other.memory_bytes == peak_memory(pruned, pixels)
    assert not pruned.training


def test_speedup_is_by_the_image(make_vit, pixels):
    clock = Clock([9.0, 9.0] + [0.3, 0.1] * MIN_ROUNDS)
    _, other = measure_prices([make_vit()] * 2, [pixels, pixels[:1]], clock=clock)
    assert other.speedup == pytest.approx(1.0)


class Counted(nn.Module):
    def __init__(self, calls, name="counted"):
        super().__init__()
        self.calls, self.name = calls, name

    def forward(self, x):
        self.calls.append(self.name)
        return x


def test_rounds_are_interleaved(pixels):
    order = []
    models = [Counted(order, "a"), Counted(order, "b")]
    prices = measure_prices(models, [pixels] * 2, clock=Clock([9.0] * (2 + 2 * MIN_ROUNDS)))
    assert order[: 2 + 2 * MIN_ROUNDS] == ["a", "b"] * (1 + MIN_ROUNDS)
    assert [price.macs for price in prices] == [0, 0]


def test_a_short_forward_is_timed_many_times_in_a_row_and_in_many_rounds(pixels):
    calls = []
    # A warm-up of 10 ms asks for 5 forwards in a row; they take 0.2 s together.
    clock = Clock([0.01] + [0.2] * MAX_ROUNDS)
    (price,) = measure_prices([Counted(calls)], [pixels], clock=clock)
    assert len(calls) == 1 + 5 * MAX_ROUNDS + 2  # the last two count memory and MACs
    assert price.latency_ms == pytest.approx(40)


def test_as_many_rounds_as_fit_into_a_minute(pixels):
    calls = []
    clock = Clock([4.0] * (1 + 15))
    measure_prices([Counted(calls)], [pixels], clock=clock)
    assert len(calls) == 1 + 15 + 2
