"""Dilution against the paper's formula, and its training on a problem that can be learnt."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from lambda_nas.core.dilution import Recipe, dilute, finish, lambda_at, set_lambda, train
from lambda_nas.core.evaluation import evaluate
from lambda_nas.core.removal import RemovalSet
from lambda_nas.core.surgery import AttentionFreeBlock, remove_attention
from lambda_nas.errors import InputError, LayerIndexError, NonFiniteError, UnsupportedModelError

REMOVAL = RemovalSet.of([0, 2])
COMPENSATIONS = ["paper", "none"]
BRIEF = Recipe(steps=12, batch_size=16, lr=3e-3, seed=1)


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
    diluted.blocks[0].attn.attn.register_forward_hook(lambda *_: calls.append(1))
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
    with pytest.raises(InputError, match=r"still attends: call set_lambda\(model, 0\)"):
        finish(diluted)


def test_the_given_model_is_left_alone(make_vit, two_classes, weights_of):
    model = make_vit(num_classes=2)
    before = weights_of(model)
    train(dilute(model, REMOVAL), two_classes, BRIEF)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


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
    with pytest.raises(LayerIndexError, match="layer 6: removable layers are 0, 1, 2, 3"):
        dilute(make_vit(), RemovalSet.of([6]))
    with pytest.raises(LayerIndexError, match="diluted already"):
        dilute(dilute(make_vit(), REMOVAL), RemovalSet.of([1]))
    bare = make_vit(final_norm=False)
    with pytest.raises(UnsupportedModelError, match="no norm right behind its last block"):
        dilute(bare, REMOVAL, compensation="paper")
    dilute(bare, REMOVAL, compensation="none")


@pytest.mark.parametrize(
    ("anneal", "start", "expected"),
    [
        (0.5, 1.0, [1.0, 0.75, 0.5, 0.25, 0, 0, 0, 0]),
        (0.5, 0.4, [0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0]),
        (1.0, 0.7, [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]),
        (0.0, 1.0, [0] * 8),
        (0.5, 0.0, [0] * 8),
    ],
)
def test_lambda_falls_linearly_to_zero(anneal, start, expected):
    recipe = Recipe(steps=8, batch_size=1, lr=1, anneal=anneal, lambda_start=start)
    assert [lambda_at(step, recipe) for step in range(8)] == pytest.approx(expected)


def test_the_only_step_is_at_zero():
    assert lambda_at(0, Recipe(steps=1, batch_size=1, lr=1)) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"anneal": 1.2}, "anneal must be within 0 and 1, not 1.2"),
        ({"lambda_start": -1}, "lambda_start must be within 0 and 1"),
    ],
)
def test_recipes_that_make_no_sense(settings, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{"steps": 1, "batch_size": 1, "lr": 1, **settings})


@pytest.mark.parametrize("compensation", COMPENSATIONS)
def test_training_learns(make_vit, two_classes, distance, compensation):
    diluted = dilute(make_vit(num_classes=2), REMOVAL, compensation=compensation)
    losses = []
    recipe = Recipe(steps=30, batch_size=16, lr=3e-3, smoothing=0.0)
    train(diluted, two_classes, recipe, on_step=lambda step, loss: losses.append((step, loss)))
    assert [step for step, _ in losses] == list(range(30))
    assert losses[-1][1] < 0.1 * losses[0][1]
    assert not diluted.training
    finished = finish(diluted)  # lambda is at 0
    assert evaluate(finished, two_classes).top1 > 0.95


def test_lambda_follows_the_recipe(make_vit, two_classes):
    diluted = dilute(make_vit(num_classes=2), REMOVAL)
    seen = []
    branch = diluted.blocks[2].attn
    train(diluted, two_classes, BRIEF, on_step=lambda *_: seen.append(branch.lam.item()))
    assert seen == pytest.approx([lambda_at(step, BRIEF) for step in range(12)])
    assert branch.lam.item() == 0


def test_the_seed_decides_and_global_randomness_stays(make_vit, two_classes):
    def trained(seed, noise):
        diluted = dilute(make_vit(num_classes=2, drop_path_rate=0.3, drop_rate=0.2), REMOVAL)
        torch.manual_seed(noise)
        train(diluted, two_classes, Recipe(steps=5, batch_size=16, lr=3e-3, seed=seed))
        after = torch.rand(3)
        torch.manual_seed(noise)
        assert torch.equal(after, torch.rand(3))
        return torch.cat([parameter.flatten() for parameter in diluted.parameters()])

    assert torch.equal(trained(3, noise=10), trained(3, noise=11))
    assert not torch.equal(trained(3, noise=10), trained(4, noise=10))


def test_a_loss_that_is_not_finite(make_vit, two_classes):
    diluted = dilute(make_vit(num_classes=2), REMOVAL)

    def spoil(step, loss):
        if step == 2:
            nn.init.constant_(diluted.head.bias, float("nan"))

    with pytest.raises(NonFiniteError, match="loss is nan at step 3"):
        train(diluted, two_classes, BRIEF, on_step=spoil)


def test_no_images(make_vit, two_classes):
    with pytest.raises(InputError, match="no images to train on"):
        train(dilute(make_vit(), REMOVAL), two_classes.subset(torch.arange(0)), BRIEF)
