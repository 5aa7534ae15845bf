"""Training on a problem that can be learnt, from labels and from a teacher."""

import contextlib
import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from lambda_nas.errors import InputError, NonFiniteError
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.training.config import Augmentation, LambdaSchedule, Losses, TrainConfig
from lambda_nas.training.dilution import dilute, finish
from lambda_nas.training.evaluation import evaluate
from lambda_nas.training.loop import train

REMOVAL = RemovalSet.of([0, 2])
BRIEF = TrainConfig(steps=12, batch_size=16, lr=3e-3, seed=1)
LEARNING = TrainConfig(steps=30, batch_size=16, lr=3e-3, losses=Losses(smoothing=0.0))
TAUGHT = Losses(labels=0.0, logits=1.0, hidden=1.0)


def flat(model):
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_the_given_model_is_left_alone(make_vit, two_classes, weights_of):
    model = make_vit(num_classes=2)
    before = weights_of(model)
    train(dilute(model, REMOVAL), two_classes, BRIEF, teacher=model)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("compensation", ["paper", "none"])
def test_it_learns_from_labels(make_vit, two_classes, compensation):
    diluted = dilute(make_vit(num_classes=2), REMOVAL, compensation=compensation)
    losses = []
    train(diluted, two_classes, LEARNING, on_step=lambda *step: losses.append(step))
    assert [step for step, _ in losses] == list(range(30))
    assert losses[-1][1] < 0.1 * losses[0][1]
    assert not diluted.training
    assert evaluate(finish(diluted), two_classes).top1 > 0.95  # lambda is at 0


def test_it_learns_from_a_teacher_without_labels(make_vit, two_classes):
    teacher = make_vit(num_classes=2)
    train(teacher, two_classes, LEARNING)
    unlabelled = replace(two_classes, labels=torch.zeros_like(two_classes.labels))
    pruned = remove_attention(teacher, REMOVAL).model
    nn.init.normal_(pruned.blocks[2].mlp.fc2.weight)
    before = agreement(teacher, pruned, two_classes)
    train(pruned, unlabelled, replace(LEARNING, losses=TAUGHT), teacher=teacher)
    assert before < 0.8
    assert agreement(teacher, pruned, two_classes) > 0.95


@torch.no_grad()
def agreement(teacher, student, images):
    batch, _ = next(images.batches(len(images)))
    return (teacher(batch).argmax(-1) == student(batch).argmax(-1)).float().mean().item()


@pytest.mark.parametrize("losses", [Losses(logits=1.0), Losses(hidden=1.0)])
def test_a_taught_loss_needs_a_teacher(make_vit, two_classes, losses):
    with pytest.raises(InputError, match="losses need a teacher, and none is given"):
        train(make_vit(num_classes=2), two_classes, replace(BRIEF, losses=losses))


def test_lambda_follows_the_schedule(make_vit, two_classes):
    diluted = dilute(make_vit(num_classes=2), REMOVAL)
    seen = []
    branch = diluted.blocks[2].attn
    train(diluted, two_classes, BRIEF, on_step=lambda *_: seen.append(branch.lam.item()))
    assert seen == pytest.approx([BRIEF.lambda_schedule.at(step, 12) for step in range(12)])
    assert branch.lam.item() == 0


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(), Augmentation(crop=0.5, hflip=0.5, policy="rand-m9", mixup=0.4, cutmix=1.0)],
)
def test_the_seed_decides_and_global_randomness_stays(make_vit, two_classes, augmentation):
    def run(seed, noise):
        diluted = dilute(make_vit(num_classes=2, drop_path_rate=0.3, drop_rate=0.2), REMOVAL)
        torch.manual_seed(noise)
        config = TrainConfig(5, 16, 3e-3, seed=seed, augmentation=augmentation)
        train(diluted, two_classes, config)
        after = torch.rand(3)
        torch.manual_seed(noise)
        assert torch.equal(after, torch.rand(3))
        return flat(diluted)

    assert torch.equal(run(3, noise=10), run(3, noise=11))
    assert not torch.equal(run(3, noise=10), run(4, noise=10))


def test_only_the_blocks_without_attention_are_trained(make_vit, two_classes):
    model = make_vit(num_classes=2)
    pruned = remove_attention(model, REMOVAL).model
    train(pruned, two_classes, replace(BRIEF, trainable="removed"))
    trained, original = pruned.state_dict(), model.state_dict()
    changed = {
        name.split(".mlp")[0].split(".norm")[0]
        for name in trained
        if not torch.equal(trained[name], original[name])
    }
    assert changed == {"blocks.0", "blocks.2"}
    assert all(parameter.requires_grad for parameter in pruned.parameters())


def test_with_no_such_block_there_is_nothing_to_train(make_vit, two_classes):
    with pytest.raises(InputError, match="no attention is removed"):
        train(make_vit(num_classes=2), two_classes, replace(BRIEF, trainable="removed"))


def weights_before_each_step(model, images, config):
    """Train; return the weights with weight decay as they were before each step, and at the end."""
    layers = [block.mlp.fc1.weight for block in model.blocks]
    seen = [torch.stack(layers).detach()]
    train(model, images, config, on_step=lambda *_: seen.append(torch.stack(layers).detach()))
    return torch.stack(seen)


def test_the_rate_warms_up_over_a_tenth_of_the_steps(make_vit, two_classes):
    # Lion moves each weight by the learning rate: up or down.
    config = TrainConfig(20, 16, 3e-3, opt="lion", weight_decay=0.0, sched="step")
    seen = weights_before_each_step(make_vit(num_classes=2), two_classes, config)
    rates = seen.diff(dim=0).abs().amax((1, 2, 3))[:4]
    expected = torch.tensor([3e-5, (3e-5 + 3e-3) / 2, 3e-3, 3e-3])
    torch.testing.assert_close(rates, expected, rtol=0.01, atol=0)


def test_the_optimizer_and_its_weight_decay_are_those_of_the_config(make_vit, two_classes):
    config = TrainConfig(10, 16, 3e-3, opt="lion", weight_decay=0.0)
    decaying = replace(config, weight_decay=50.0)
    plain, decayed = (
        weights_before_each_step(make_vit(num_classes=2), two_classes, each)
        for each in (config, decaying)
    )
    for step in plain.diff(dim=0)[:5].abs():
        # Up or down by the same: no other optimizer does that.
        moved = step[step > 0]
        torch.testing.assert_close(moved.min(), moved.max(), rtol=0.01, atol=0)
    torch.testing.assert_close(decayed[1] - plain[1], -3e-5 * 50 * plain[0], rtol=0.01, atol=1e-7)


def test_the_moving_average_is_what_is_left(make_vit, two_classes):
    model = dilute(make_vit(num_classes=2), REMOVAL)
    expected = flat(model)

    def average(*_):
        nonlocal expected
        expected = 0.8 * expected + 0.2 * flat(model)

    train(model, two_classes, replace(BRIEF, ema_decay=0.8), on_step=average)
    torch.testing.assert_close(flat(model), expected)


def test_the_weights_with_the_highest_rating_are_kept(make_vit, two_classes):
    model = dilute(make_vit(num_classes=2), REMOVAL)
    ratings = iter([0.2, 0.9, 0.5])
    seen = []

    def rate(rated):
        assert not rated.training
        assert rated.blocks[0].attn.lam.item() == 0
        seen.append(flat(copy.deepcopy(rated)))
        return next(ratings)

    train(
        model,
        two_classes,
        replace(BRIEF, checks=3, lambda_schedule=LambdaSchedule(share=0.25)),
        rate=rate,
    )
    assert len(seen) == 3
    assert torch.equal(flat(model), seen[1])
    assert not torch.equal(flat(model), seen[2])


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


class FileStore:
    """Keeps checkpoints in a file, as the command line does, and ends the training at one."""

    every = 3

    def __init__(self, path, end):
        self.path = path
        self.end = end

    def load(self):
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def save(self, checkpoint):
        torch.save(checkpoint, self.path)
        if checkpoint["step"] == self.end:
            raise KeyboardInterrupt


@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_a_killed_training_goes_on_as_if_nothing_was(make_vit, two_classes, tmp_path, ema_decay):
    augmentation = Augmentation(crop=0.5, hflip=0.5, policy="rand-m9", mixup=0.4, cutmix=1.0)
    config = replace(BRIEF, augmentation=augmentation, ema_decay=ema_decay)
    teacher = make_vit(num_classes=2, drop_path_rate=0.3, drop_rate=0.2)

    def run(checkpoints=None):
        steps = []
        model = dilute(teacher, REMOVAL)
        with contextlib.suppress(KeyboardInterrupt):
            train(
                model,
                two_classes,
                config,
                on_step=lambda step, loss: steps.append((step, loss)),
                checkpoints=checkpoints,
            )
        return flat(model), steps

    whole, steps = run()
    _, before = run(FileStore(tmp_path / "state.pt", end=6))
    resumed, after = run(FileStore(tmp_path / "state.pt", end=None))
    assert before == steps[:6]
    assert after == steps[6:]
    assert torch.equal(whole, resumed)


def test_checkpoints_do_not_hold_the_best_weights(make_vit, two_classes, tmp_path):
    checkpoints = FileStore(tmp_path / "state.pt", end=None)
    with pytest.raises(InputError, match="either checkpoints or rate"):
        train(make_vit(), two_classes, BRIEF, checkpoints=checkpoints, rate=lambda _: 0.0)
