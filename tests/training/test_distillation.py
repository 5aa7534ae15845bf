"""The distillation losses against loops written out."""

import pytest
import torch

from lambda_nas.models.removal import RemovalSet
from lambda_nas.training.config import Losses
from lambda_nas.training.dilution import dilute, set_lambda
from lambda_nas.training.distillation import Objective, hidden_distance


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_hidden_distance_by_hand(prefix):
    taught = [torch.randn(2, 5, 8) for _ in range(3)]
    hidden = [torch.randn(2, 5, 8) for _ in range(3)]
    blocks = []
    for goal, own in zip(taught, hidden, strict=True):
        groups = [range(prefix), range(prefix, 5)] if prefix else [range(5)]
        means = [
            sum(token_error(goal[i, t], own[i, t]) for i in range(2) for t in group)
            / (2 * len(group))
            for group in groups
        ]
        blocks.append(sum(means) / len(means))
    found = hidden_distance(taught, hidden, prefix).item()
    assert found == pytest.approx(sum(blocks) / 3, rel=1e-4)


def token_error(goal, own):
    unit = [(token - token.mean()) / token.std(unbiased=False) for token in (goal, own)]
    return ((unit[0] - unit[1]) ** 2).mean().item()


def test_a_doubled_stream_is_no_further_away():
    tokens = [torch.randn(2, 5, 8)]
    assert hidden_distance(tokens, [2 * tokens[0] + 3], 1).item() < 1e-6


def test_the_objective_is_zero_for_the_teacher_itself(vit, pixels):
    student = dilute(vit, RemovalSet.of([1]))
    targets = torch.zeros(len(pixels), vit.num_classes)
    with Objective(student, vit, Losses(labels=0.0, logits=1.0, hidden=1.0)) as objective:
        same = objective(pixels, targets)
        set_lambda(student, 0.5)
        other = objective(pixels, targets)
    assert same.item() < 1e-6 < 1e-4 < other.item()


def test_the_weights_add_up_and_hooks_go(vit, pixels):
    student = dilute(vit, RemovalSet.of([1]))
    set_lambda(student, 0.3)
    targets = torch.rand(len(pixels), vit.num_classes).softmax(-1)

    def value(**weights):
        with Objective(student, vit, Losses(**weights)) as objective:
            return objective(pixels, targets).item()

    parts = [
        value(labels=1.0),
        value(labels=0.0, logits=1.0),
        value(labels=0.0, hidden=1.0),
    ]
    total = value(labels=0.5, logits=2.0, hidden=3.0)
    assert total == pytest.approx(0.5 * parts[0] + 2 * parts[1] + 3 * parts[2], rel=1e-5)
    assert not any(module._forward_hooks for module in (*vit.modules(), *student.modules()))


def test_the_hidden_loss_weighs_the_tokens_that_the_head_reads(vit, pixels):
    student = dilute(vit, RemovalSet.of([1]))
    set_lambda(student, 0.3)
    outputs = []
    for block in (*vit.blocks, *student.blocks):
        block.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        vit(pixels), student(pixels)
    half = len(outputs) // 2
    expected = hidden_distance(outputs[:half], outputs[half:], vit.num_prefix_tokens)
    with Objective(student, vit, Losses(labels=0.0, hidden=1.0)) as objective:
        found = objective(pixels, torch.zeros(len(pixels), vit.num_classes))
    torch.testing.assert_close(found, expected)


def test_no_gradient_reaches_the_teacher(vit, pixels):
    student = dilute(vit, RemovalSet.of([1]))
    set_lambda(student, 0.0)
    targets = torch.zeros(len(pixels), vit.num_classes)
    vit.zero_grad()
    with Objective(student, vit, Losses(labels=0.0, logits=1.0, hidden=1.0)) as objective:
        objective(pixels, targets).backward()
    assert all(parameter.grad is None for parameter in vit.parameters())
    assert student.blocks[1].mlp.fc2.weight.grad.abs().sum() > 0
