"""Removal of attention, family by family, against a loop over the blocks' children by hand."""

import pytest
import torch
from timm.models import create_model
from timm.models.vision_transformer import ResPostBlock
from torch.utils._python_dispatch import TorchDispatchMode

from lambda_nas.errors import LayerIndexError, UnsupportedModelError
from lambda_nas.models import attention_free
from lambda_nas.models.blockwise import check_blockwise, stem
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import (
    AttentionFreeBlock,
    count_params,
    removable_layers,
    remove_attention,
)

SETS = [RemovalSet.of(layers) for layers in ([0], [1, 3], [0, 1, 2, 3])]


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators_of(function, *args):
    with torch.no_grad(), Operators() as operators:
        function(*args)
    return operators.names


def skip_attention(removal):
    """Return the block of the definition: the attention's addend is left out for the set."""

    def run_block(index, block, x):
        if index not in removal:
            x = x + block.ls1(block.attn(block.norm1(x)))
        return x + block.ls2(block.mlp(block.norm2(x)))

    return run_block


@torch.no_grad()
def test_removing_nothing_is_bit_equal(vit, pixels):
    surgery = remove_attention(vit, RemovalSet())
    assert torch.equal(surgery.model(pixels), vit(pixels))
    assert (surgery.removed, surgery.params_removed) == (RemovalSet(), 0)


@pytest.mark.parametrize("removal", SETS, ids=str)
@torch.no_grad()
def test_removing_equals_the_definition(vit, pixels, forward_by_hand, removal):
    expected = forward_by_hand(vit, pixels, skip_attention(removal))
    found = remove_attention(vit, removal).model(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, vit(pixels), atol=1e-3)


@torch.no_grad()
def test_the_set_grows_one_by_one(vit, pixels):
    at_once = remove_attention(vit, RemovalSet.of([0, 2])).model
    in_turn = remove_attention(remove_attention(vit, RemovalSet.of([2])).model, RemovalSet.of([0]))
    assert torch.equal(in_turn.model(pixels), at_once(pixels))
    assert removable_layers(in_turn.model) == (1, 3)


def test_weights_keep_their_names(vit):
    pruned = remove_attention(vit, RemovalSet.of([1, 2])).model
    gone = tuple(f"blocks.{i}.{part}." for i in (1, 2) for part in ("norm1", "attn", "ls1"))
    kept = {name for name in vit.state_dict() if not name.startswith(gone)}
    assert set(pruned.state_dict()) == kept
    assert len(kept) < len(vit.state_dict())


@pytest.mark.parametrize(("init_values", "layer_scale"), [(None, 0), (0.1, 16)])
def test_params_removed(make_vit, init_values, layer_scale):
    model = make_vit(init_values=init_values)
    norm, qkv, proj = 2 * 16, 16 * 48 + 48, 16 * 16 + 16
    surgery = remove_attention(model, RemovalSet.of([0, 3]))
    assert surgery.params_removed == 2 * (norm + qkv + proj + layer_scale)
    assert count_params(model) - count_params(surgery.model) == surgery.params_removed


def test_the_removed_branch_does_no_work(make_vit):
    model = make_vit(init_values=0.5)
    block = remove_attention(model, RemovalSet.of([1])).model.blocks[1]
    x = torch.randn(2, 17, 16)
    expected = operators_of(lambda: x + block.ls2(block.mlp(block.norm2(x))))
    assert operators_of(block, x) == expected
    assert len(operators_of(model.blocks[1], x)) > len(expected)


def test_no_parameter_of_the_rest_is_cut_off(make_vit, pixels):
    pruned = remove_attention(make_vit(init_values=0.5), RemovalSet.of([0, 2])).model.train()
    pruned(pixels).square().sum().backward()
    without = [
        name
        for name, parameter in pruned.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@torch.no_grad()
def test_it_compiles_into_one_graph(make_vit, pixels):
    pruned = remove_attention(make_vit(), RemovalSet.of([1, 2])).model
    compiled = torch.compile(pruned, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(pixels), pruned(pixels))


@torch.no_grad()
def test_masks_reach_the_blocks_that_attend(make_vit, pixels):
    pruned = remove_attention(make_vit(), RemovalSet.of([0])).model
    mask = torch.zeros(17, 17, dtype=torch.bool)
    mask[:, :9] = True
    assert not torch.allclose(pruned(pixels, attn_mask=mask), pruned(pixels))
    alone = remove_attention(pruned, RemovalSet.of([1, 2, 3])).model
    assert torch.equal(alone(pixels, attn_mask=mask), alone(pixels))


@torch.no_grad()
def test_the_given_model_is_left_alone(vit, pixels, weights_of):
    before, logits = weights_of(vit), vit(pixels)
    pruned = remove_attention(vit, RemovalSet.of([0, 1])).model
    for parameter in pruned.parameters():
        parameter.zero_()
    assert removable_layers(vit) == (0, 1, 2, 3)
    assert all(torch.equal(before[name], weight) for name, weight in vit.state_dict().items())
    assert torch.equal(vit(pixels), logits)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept(make_vit, training):
    pruned = remove_attention(make_vit(drop_path_rate=0.2).train(training), RemovalSet.of([1]))
    assert {module.training for module in pruned.model.modules()} == {training}


@torch.no_grad()
def test_stem_is_what_the_first_block_reads(vit, pixels):
    seen = []
    with vit.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        vit(pixels)
    assert torch.equal(stem(vit).forward_features(pixels), seen[0])
    assert len(vit.blocks) == 4


@pytest.mark.parametrize("layers", [[7], [-1], [0, 4]])
def test_a_layer_that_does_not_exist(make_vit, layers):
    with pytest.raises(
        LayerIndexError, match=rf"{layers[-1]}: .* expected layers among 0, 1, 2, 3$"
    ):
        remove_attention(make_vit(), RemovalSet.of(layers))


def test_removing_twice(make_vit):
    pruned = remove_attention(make_vit(), RemovalSet.of([2])).model
    with pytest.raises(LayerIndexError, match=r"layers 2: .* layers among 0, 1, 3$"):
        remove_attention(pruned, RemovalSet.of([2]))


def test_nothing_left_to_remove(make_vit):
    bare = remove_attention(make_vit(), RemovalSet.of(range(4))).model
    assert all(isinstance(block, AttentionFreeBlock) for block in bare.blocks)
    with pytest.raises(UnsupportedModelError, match="no attention layer left"):
        removable_layers(bare)


def test_a_block_of_another_kind(make_vit):
    model = make_vit()
    model.blocks[2] = make_vit(block_fn=ResPostBlock).blocks[2]
    assert removable_layers(model) == (0, 1, 2, 3)
    with pytest.raises(UnsupportedModelError, match=r"block 2 is a ResPostBlock.*supported: pre"):
        check_blockwise(model)


def test_a_model_of_another_kind():
    with pytest.raises(UnsupportedModelError, match="ResNet has no residual self-attention layer"):
        remove_attention(create_model("test_resnet"), RemovalSet.of([0]))


def test_large_batches_go_in_parts_with_the_same_result(make_vit, monkeypatch):
    model = make_vit()
    block = remove_attention(model, RemovalSet.of([1])).model.blocks[1]
    x = torch.randn(7, 17, 16)
    whole = block.whole(x)
    seen = []
    block.mlp.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    for images, parts in ((3, [3, 3, 1]), (1, [1] * 7), (7, [7])):
        monkeypatch.setattr(attention_free, "IN_CACHE_BYTES", images * x[:1].nbytes)
        seen.clear()
        with torch.inference_mode():
            assert torch.allclose(block(x), whole, atol=1e-6)
        assert seen == parts
    monkeypatch.setattr(attention_free, "IN_CACHE_BYTES", 1)
    seen.clear()
    with torch.inference_mode():
        assert block(x[:0]).shape == (0, 17, 16)
    seen.clear()
    # To learn it needs the whole hidden layer.
    block(x).sum().backward()
    assert seen == [7]
