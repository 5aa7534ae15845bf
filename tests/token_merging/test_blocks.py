"""Token merging, against a slow reference: loops over single tokens, in double precision."""

import math

import pytest
import torch
from timm.layers import DropPath
from timm.models.deit import VisionTransformerDistilled

from lambda_nas.cost.measurement import count_macs, peak_memory
from lambda_nas.errors import InputError, UnsupportedModelError
from lambda_nas.models.branches import find_branches
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.token_merging.bipartite_matching import Tokens, proportional_attention
from lambda_nas.token_merging.blocks import merge_tokens

MODELS = {
    "class token": {},
    "distilled": {"cls": VisionTransformerDistilled},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "layer scale": {"init_values": 0.5},
    "odd number of tokens": {"img_size": 12},
    "norms everywhere": {"norm_layer": "rmsnorm", "qk_norm": True, "scale_attn_norm": True},
}


@pytest.fixture(params=MODELS)
def model(request, make_vit):
    return make_vit(**MODELS[request.param]).double()


@pytest.fixture
def images():
    def make(model, number=3):
        generator = torch.Generator().manual_seed(1)
        size = model.patch_embed.img_size
        return torch.randn(number, 3, *size, generator=generator, dtype=torch.float64)

    return make


def tokens_behind(model, pixels):
    """Return how many tokens leave each block."""
    seen = []

    def note(module, args, out):
        seen.append((out.x if isinstance(out, Tokens) else out).shape[1])

    hooks = [block.register_forward_hook(note) for block in model.blocks]
    model(pixels)
    for hook in hooks:
        hook.remove()
    return seen


def slow_attention(attn, rows, sizes):
    """Attend head by head and token by token; return outputs and mean keys."""
    width, heads = attn.head_dim, range(attn.num_heads)
    qkv = [attn.qkv(row) for row in rows]

    def cut(row, part, head):
        begin = (part * attn.num_heads + head) * width
        return row[begin : begin + width]

    q = [[attn.q_norm(cut(row, 0, head)) for head in heads] for row in qkv]
    k = [[attn.k_norm(cut(row, 1, head)) for head in heads] for row in qkv]
    v = [[cut(row, 2, head) for head in heads] for row in qkv]
    outputs = []
    for i in range(len(rows)):
        parts = []
        for head in heads:
            weights = [
                size * math.exp(float(q[i][head] @ k[j][head]) / math.sqrt(width))
                for j, size in enumerate(sizes)
            ]
            total = sum(weights)
            parts.append(sum(w / total * v[j][head] for j, w in enumerate(weights)))
        outputs.append(attn.proj(attn.norm(torch.cat(parts))))
    return outputs, [sum(keys) / len(keys) for keys in k]


def slow_merge(rows, sizes, keys, r, protected):
    """Merge pair by pair."""
    a = list(range(protected, len(rows), 2))
    b = list(range(protected + 1, len(rows), 2))
    edges = []
    for i in a:
        cosines = [float(keys[i] @ keys[j] / keys[i].norm() / keys[j].norm()) for j in b]
        best = max(range(len(b)), key=cosines.__getitem__)
        edges.append((cosines[best], i, b[best]))
    edges = sorted(edges, reverse=True)[: min(r, (len(rows) - protected) // 2)]
    rows, sizes = list(rows), list(sizes)
    for _, i, j in edges:
        total = sizes[i] + sizes[j]
        rows[j] = (sizes[i] * rows[i] + sizes[j] * rows[j]) / total
        sizes[j] = total
    gone = {i for _, i, _ in edges}
    order = [*range(protected), *(i for i in a if i not in gone), *b]
    return [rows[i] for i in order], [sizes[i] for i in order]


def slow_forward(model, image, merging):
    """Run one image; return logits and the number of tokens behind each block."""
    x = model.norm_pre(model._pos_embed(model.patch_embed(image[None])))
    rows, sizes, counts = list(x[0]), [1] * x.shape[1], []
    for index, block in enumerate(model.blocks):
        if hasattr(block, "attn"):
            normed = [block.norm1(row) for row in rows]
            attended, keys = slow_attention(block.attn, normed, sizes)
            rows = [row + block.ls1(out) for row, out in zip(rows, attended, strict=True)]
            if index >= merging.start:
                rows, sizes = slow_merge(rows, sizes, keys, merging.r, model.num_prefix_tokens)
        rows = [row + block.ls2(block.mlp(block.norm2(row))) for row in rows]
        counts.append(len(rows))
    assert sum(sizes) == x.shape[1]
    return model.forward_head(model.norm(torch.stack(rows)[None]))[0], counts


@pytest.mark.parametrize("removed", [(), (0, 2)], ids=str)
@pytest.mark.parametrize("merging", [Merging(1), Merging(3), Merging(3, start=1), Merging(99)])
@torch.no_grad()
def test_it_equals_the_slow_reference(model, images, merging, removed):
    if removed:
        model = remove_attention(model, RemovalSet.of(removed)).model
    pixels = images(model)
    merged = merge_tokens(model, merging)
    slow = [slow_forward(model, image, merging) for image in pixels]
    expected = torch.stack([logits for logits, _ in slow])
    torch.testing.assert_close(merged(pixels), expected, rtol=1e-9, atol=1e-9)
    assert tokens_behind(merged, pixels) == slow[0][1]
    assert not torch.allclose(model(pixels), expected, atol=1e-3)


@torch.no_grad()
def test_merging_nothing_is_the_model_itself(model, images):
    merged = merge_tokens(model, Merging(0))
    assert torch.equal(merged(images(model)), model(images(model)))
    types = [type(module) for module in model.modules()]
    assert [type(module) for module in merged.modules()] == types


@torch.no_grad()
def test_the_number_of_tokens(make_vit, pixels):
    model = make_vit()
    assert tokens_behind(model, pixels) == [17, 17, 17, 17]
    assert tokens_behind(merge_tokens(model, Merging(3)), pixels) == [14, 11, 8, 5]
    assert tokens_behind(merge_tokens(model, Merging(3, start=2)), pixels) == [17, 17, 14, 11]
    # Half of the patches at most: 16, 8, 4, 2, 1; the class token stays.
    assert tokens_behind(merge_tokens(model, Merging(16)), pixels) == [9, 5, 3, 2]
    pruned = remove_attention(model, RemovalSet.of([0, 2])).model
    assert tokens_behind(merge_tokens(pruned, Merging(3)), pixels) == [17, 14, 14, 11]


@torch.no_grad()
def test_it_takes_less_memory_and_work(make_vit):
    model, images = make_vit(img_size=32), torch.randn(16, 3, 32, 32)
    merged = merge_tokens(model, Merging(4))
    assert peak_memory(merged, images) < peak_memory(model, images)
    assert count_macs(merged, images) < count_macs(model, images)


@torch.no_grad()
def test_one_patch_is_left_alone(make_vit, pixels):
    merged = merge_tokens(make_vit(depth=7), Merging(16))
    assert tokens_behind(merged, pixels) == [9, 5, 3, 2, 2, 2, 2]
    assert merged(pixels).isfinite().all()


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(model, images):
    merged, pixels = merge_tokens(model, Merging(3)), images(model, 5)
    alone = torch.cat([merged(image[None]) for image in pixels])
    torch.testing.assert_close(merged(pixels), alone, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_size_stands_for_copies(model):
    attention = model.blocks[1].attn
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    sizes = torch.tensor([1, 3, 2, 1, 4])
    copies = x.repeat_interleave(sizes, dim=1)
    expected, _ = proportional_attention(attention, copies, None)
    found, _ = proportional_attention(attention, x, sizes.double().view(1, 5, 1).expand(2, -1, -1))
    first = sizes.cumsum(0) - sizes
    torch.testing.assert_close(found, expected[:, first], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, proportional_attention(attention, x, None)[0], atol=1e-3)


@torch.no_grad()
def test_attention_without_sizes_is_timms(model):
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(
        proportional_attention(model.blocks[1].attn, x, None)[0],
        model.blocks[1].attn(x),
        rtol=1e-12,
        atol=1e-12,
    )


def test_the_scale_is_the_attentions_own(make_vit):
    attention = make_vit().double().blocks[0].attn
    attention.fused_attn, attention.scale = False, 0.1
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(proportional_attention(attention, x, None)[0], attention(x))


def test_dropout_and_stochastic_depth_stay(make_vit, pixels):
    rates = {"attn_drop_rate": 0.3, "drop_path_rate": 0.4, "proj_drop_rate": 0.2}
    merged = merge_tokens(make_vit(**rates), Merging(2))
    assert torch.equal(merged(pixels), merged(pixels))
    assert isinstance(merged.blocks[3].drop_path1, DropPath)
    # Each acts in training: what is random is no more once all but it are off.
    for kind in ("attn_drop", "drop_path1", "drop_path2", "proj_drop"):
        for name, module in merged.named_modules():
            module.training = name.endswith(kind)
        assert not torch.equal(merged(pixels), merged(pixels)), kind


def test_the_weights_are_the_same_and_the_model_is_left_alone(model, images, weights_of):
    before, logits = weights_of(model), model(images(model))
    merged = merge_tokens(model, Merging(3))
    assert list(merged.state_dict()) == list(before)
    assert all(torch.equal(before[name], value) for name, value in merged.state_dict().items())
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert torch.equal(model(images(model)), logits)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept(make_vit, training):
    merged = merge_tokens(make_vit().train(training), Merging(2))
    assert {module.training for module in merged.modules()} == {training}


def test_gradients_flow(model, images):
    merged = merge_tokens(model, Merging(3)).train()
    pixels = images(model).requires_grad_()
    merged(pixels).square().sum().backward()
    for name, parameter in merged.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    # Each patch has a part in the output, merged or not.
    patches = pixels.grad.unfold(2, 4, 4).unfold(3, 4, 4)
    assert patches.abs().sum((1, 4, 5)).gt(0).all()


@torch.no_grad()
def test_it_compiles_into_one_graph(make_vit, pixels):
    merged = merge_tokens(make_vit(), Merging(3, start=1))
    compiled = torch.compile(merged, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(pixels), merged(pixels))


@torch.no_grad()
def test_it_is_exported_for_any_batch(make_vit, pixels):
    merged = merge_tokens(make_vit(reg_tokens=1), Merging(3, start=1))
    shapes = ({0: torch.export.Dim("batch", max=2**31 - 1)},)
    program = torch.export.export(merged, (pixels,), dynamic_shapes=shapes, strict=False).module()
    for batch in (1, 3, 8):
        images = torch.randn(batch, 3, 16, 16)
        torch.testing.assert_close(program(images), merged(images))


@torch.no_grad()
def test_half_precision(make_vit, pixels):
    merged = merge_tokens(make_vit(), Merging(3))
    assert merged.bfloat16()(pixels.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert merge_tokens(make_vit(), Merging(3))(pixels).isfinite().all()


def test_branches_keep_their_indices(make_vit):
    pruned = remove_attention(make_vit(), RemovalSet.of([1])).model
    merged = merge_tokens(pruned, Merging(2, start=2))
    paths = [branch.path for branch in find_branches(pruned)]
    assert [branch.path for branch in find_branches(merged)] == paths
    assert [branch.removed for branch in find_branches(merged)] == [False, True, False, False]
    with pytest.raises(InputError, match=r"layers 2: .* layers among 0$"):
        remove_attention(merged, RemovalSet.of([2]))
    everywhere = merge_tokens(make_vit(), Merging(2))
    with pytest.raises(UnsupportedModelError, match="its block merges tokens; merge after"):
        remove_attention(everywhere, RemovalSet.of([2]))
