"""Dilution against the paper's formula."""

import pytest
import torch
from timm.layers import Attention
from torch._dynamo.testing import CompileCounter

from lambda_nas.errors import InputError, LayerIndexError, UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.training.dilution import dilute, finish, set_lambda

REMOVAL = RemovalSet.of([0, 2])
COMPENSATIONS = ["paper", "none"]


def formula(lam, compensation):
    """Return the block of the definition (design, part 2)."""

    def run_block(index, block, x):
        weight = lam if index in REMOVAL else 1.0
        kept = 2 - weight if compensation == "paper" else 1.0
        x = kept * x + weight * block.ls1(block.attn(block.norm1(x)))
        return x + block.ls2(block.mlp(block.norm2(x)))

    return run_block


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@pytest.mark.parametrize("lam", [1.0, 0.7, 0.2, 0.0])
@torch.no_grad()
def test_every_lambda_is_the_formula(vit, pixels, forward_by_hand, distance, lam, compensation):
    diluted = dilute(vit, REMOVAL, compensation=compensation)
    set_lambda(diluted, lam)
    expected = forward_by_hand(vit, pixels, formula(lam, compensation))
    assert distance(diluted(pixels), expected) < 1e-6


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@torch.no_grad()
def test_it_starts_as_the_unpruned_model(vit, pixels, distance, compensation):
    assert distance(dilute(vit, REMOVAL, compensation=compensation)(pixels), vit(pixels)) < 1e-6


@torch.no_grad()
def test_without_compensation_it_ends_as_plain_removal(vit, pixels):
    diluted = dilute(vit, REMOVAL, compensation="none")
    set_lambda(diluted, 0)
    torch.testing.assert_close(diluted(pixels), remove_attention(vit, REMOVAL).model(pixels))


@torch.no_grad()
def test_with_it_the_residual_is_doubled(make_vit, pixels, forward_by_hand, distance):
    model = make_vit(init_values=0.5)
    diluted = dilute(model, REMOVAL, compensation="paper")
    set_lambda(diluted, 0)

    def run_block(index, block, x):
        if index in REMOVAL:
            return 2 * x + block.ls2(block.mlp(block.norm2(2 * x)))
        return block(x)

    assert distance(diluted(pixels), forward_by_hand(model, pixels, run_block)) < 1e-6


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@torch.no_grad()
def test_at_zero_the_branch_does_not_run(make_vit, pixels, compensation):
    diluted = dilute(make_vit(), REMOVAL, compensation=compensation)
    calls = []
    for module in diluted.blocks[0].modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda *_: calls.append(1))
    diluted(pixels)
    set_lambda(diluted, 0)
    diluted(pixels)
    assert len(calls) == 1


@pytest.mark.parametrize("compensation", COMPENSATIONS)
def test_finish_gives_a_plain_model(vit, pixels, distance, compensation):
    diluted = dilute(vit, REMOVAL, compensation=compensation)
    set_lambda(diluted, 0)
    finished = finish(diluted)
    with torch.no_grad():
        assert distance(finished(pixels), diluted(pixels)) < 1e-5
    plain = remove_attention(vit, REMOVAL).model
    assert set(finished.state_dict()) == set(plain.state_dict())
    assert [isinstance(b, AttentionFreeBlock) for b in finished.blocks] == [
        True,
        False,
        True,
        False,
    ]
    assert not isinstance(diluted.blocks[0], AttentionFreeBlock)


def test_finish_refuses_a_model_that_still_attends(make_vit):
    diluted = dilute(make_vit(), REMOVAL)
    set_lambda(diluted, 0.1)
    with pytest.raises(
        InputError, match=r"lambda is not 0 in the diluted model: call set_lambda\(model, 0\)"
    ):
        finish(diluted)


def test_one_graph_serves_all_lambdas(make_vit, pixels):
    diluted = dilute(make_vit(), REMOVAL)
    counter = CompileCounter()
    compiled = torch.compile(diluted, backend=counter, fullgraph=True)
    for lam in (1.0, 0.6, 0.3):
        set_lambda(diluted, lam)
        compiled(pixels)
    assert counter.frame_count == 1


@pytest.mark.parametrize("lam", [-0.1, 1.5, float("nan")])
def test_lambda_has_bounds(make_vit, lam):
    with pytest.raises(InputError, match="lambda must be within 0 and 1"):
        set_lambda(dilute(make_vit(), REMOVAL), lam)


def test_what_cannot_be_diluted(make_vit):
    with pytest.raises(LayerIndexError, match=r"layers 6: .* expected layers among 0, 1, 2, 3"):
        dilute(make_vit(), RemovalSet.of([6]))
    with pytest.raises(LayerIndexError, match="diluted already"):
        dilute(dilute(make_vit(), REMOVAL), RemovalSet.of([1]))
    bare = make_vit(final_norm=False)
    with pytest.raises(UnsupportedModelError, match="no norm follows the model"):
        dilute(bare, REMOVAL, compensation="paper")
    dilute(bare, REMOVAL, compensation="none")
