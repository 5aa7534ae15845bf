"""The walk over all sets against each set on its own."""

import itertools

import pytest
import torch
from exhaustive import code_of, every_removal, every_transplant, set_of

from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache


def test_codes_go_through_all_sets_of_the_removable_layers_once():
    layers = (0, 2, 5)
    sets = [set_of(code, layers) for code in range(8)]
    expected = {
        RemovalSet(chosen) for size in range(4) for chosen in itertools.combinations(layers, size)
    }
    assert set(sets) == expected
    assert [code_of(removal, layers) for removal in sets] == list(range(8))
    assert sets[1] == RemovalSet((5,))


def test_every_removal_is_bit_equal_to_each_set_on_its_own(vit, pixels):
    outputs = list(every_removal(vit, pixels))
    assert [output.code for output in outputs] == list(range(16))
    for code, features, logits in outputs:
        pruned = remove_attention(vit, set_of(code, (0, 1, 2, 3))).model
        with torch.inference_mode():
            assert torch.equal(logits, pruned(pixels))
            tokens = pruned.forward_features(pixels)
            assert torch.equal(features, pruned.forward_head(tokens, pre_logits=True))


def test_every_transplant_is_bit_equal_to_each_set_on_its_own(vit, two_classes):
    calibration, evaluation = (
        two_classes.subset(torch.arange(start, start + 24)) for start in (0, 24)
    )
    cache = ActivationCache(vit, calibration, batch_size=10)
    outputs = list(every_transplant(cache, evaluation, batch_size=24))
    assert [output.code for output in outputs] == list(range(16))
    batch, _ = next(evaluation.batches(24))
    for code, _, logits in outputs:
        repaired = transplant(cache, set_of(code, (0, 1, 2, 3)))
        with torch.inference_mode():
            assert torch.equal(logits, repaired(batch))


@pytest.mark.parametrize("first", [1, 6, 15])
def test_the_walks_begin_where_they_are_told(make_vit, two_classes, first):
    vit = make_vit()
    batch, _ = next(two_classes.batches(6))
    cache = ActivationCache(vit, two_classes)
    for walk in (
        lambda **begin: every_removal(vit, batch, **begin),
        lambda **begin: every_transplant(cache, two_classes, **begin),
    ):
        whole, part = list(walk()), list(walk(first=first))
        assert [output.code for output in part] == list(range(first, 16))
        for expected, found in zip(whole[first:], part, strict=True):
            assert torch.equal(expected.logits, found.logits)


def test_layers_without_attention_are_left_out(make_vit, two_classes):
    vit = remove_attention(make_vit(), RemovalSet.of([0, 2])).model
    batch, _ = next(two_classes.batches(6))
    removals, repairs = (
        list(every_removal(vit, batch)),
        list(
            every_transplant(ActivationCache(vit, two_classes), two_classes.subset(torch.arange(6)))
        ),
    )
    assert (
        [output.code for output in removals] == [output.code for output in repairs] == [0, 1, 2, 3]
    )
    for code in range(4):
        removal = set_of(code, (1, 3))
        with torch.inference_mode():
            assert torch.equal(removals[code].logits, remove_attention(vit, removal).model(batch))
            repaired = transplant(ActivationCache(vit, two_classes), removal)
            assert torch.equal(repairs[code].logits, repaired(batch))


def test_as_few_blocks_are_run_as_the_tree_has_edges(make_vit, pixels):
    vit = make_vit()
    runs = 0

    def count(*_):
        nonlocal runs
        runs += 1

    for block in vit.blocks:
        block.mlp.register_forward_hook(count)
    list(every_removal(vit, pixels))
    assert runs == 2**5 - 2


@pytest.mark.real
@pytest.mark.parametrize("begin", [(1, 4, 5), (0, 2, 4, 6), (1, 3, 4, 5, 8, 11)])
def test_real_decisions_are_those_of_each_set_on_its_own(deit_tiny, imagenet_halves, begin):
    layers = tuple(range(12))
    batch, _ = next(imagenet_halves[1].batches(2))
    walk = every_removal(deit_tiny, batch, first=code_of(RemovalSet(begin), layers))
    for code, _, logits in itertools.islice(walk, 2):
        pruned = remove_attention(deit_tiny, set_of(code, layers)).model
        with torch.inference_mode():
            assert logits.argmax(1).tolist() == pruned(batch).argmax(1).tolist()
