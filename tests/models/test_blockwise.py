"""Everything that walks the blocks in a row, for each family that is one."""

import copy

import pytest
import torch
from exhaustive import code_of, every_removal, every_transplant
from timm.models import create_model

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.attention_free import AttentionFreeBlock
from lambda_nas.models.blockwise import attend, blocks, check_blockwise, contexts, entries, stem
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.repair.transplant import transplant
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.entropy import relative_entropy
from lambda_nas.scoring.prior import measure_prior
from lambda_nas.training.dilution import dilute, finish, set_lambda

TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "num_heads": 2, "num_classes": 5}
FAMILIES = {
    "deit3": ("deit3_small_patch16_224", {"depth": 4}),
    "dinov2": ("vit_small_patch14_reg4_dinov2", {"depth": 4}),
    "eva02": ("eva02_tiny_patch14_224", {"depth": 4}),
    "dinov3": ("vit_small_patch16_dinov3", {"depth": 4}),
    "rope mixed": ("vit_small_patch16_rope_mixed_224", {"depth": 4}),
    "beit": ("beit_base_patch16_224", {"depth": 4}),
    "beitv2": ("beitv2_base_patch16_224", {"depth": 4, "use_shared_rel_pos_bias": True}),
    "cait": ("cait_xxs24_224", {"depth": 4}),
    "relpos": ("vit_relpos_small_patch16_224", {"depth": 4}),
    "relpos class token": ("vit_relpos_base_patch16_clsgap_224", {"depth": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 2, "window_size": 2, "depths": (2, 2), "num_heads": (2, 4)},
    ),
}
REMOVAL = RemovalSet.of([0, 2])


def build(family, **changes):
    name, kwargs = FAMILIES[family]
    torch.manual_seed(0)
    model = create_model(name, **{**TINY, **kwargs, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            # Layer scales begin near zero, and nothing would show.
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


@pytest.fixture(params=FAMILIES)
def model(request):
    return build(request.param)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (24, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(24, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


def outputs(model, images):
    with torch.no_grad():
        return torch.cat([model(batch) for batch, _ in images.batches(8)])


@pytest.mark.parametrize("removal", [RemovalSet(), REMOVAL, RemovalSet.of(range(4))], ids=str)
def test_the_walk_gives_what_the_model_does(model, images, removal):
    _, logits = ActivationCache(model, images, batch_size=8).head(removal)
    expected = remove_attention(model, removal).model if removal else model
    torch.testing.assert_close(logits, outputs(expected, images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_two_halves_make_a_block(model, images):
    pixels, _ = next(images.batches(4))
    state = stem(model).forward_features(pixels)
    row = zip(blocks(model), entries(model), contexts(model, pixels[:1]), strict=True)
    for block, entry, context in row:
        state = state if entry is None else entry(state)
        middle = attend(block, state, context)
        assert not torch.allclose(middle, state, atol=1e-3)
        whole = block(state, *context.args, **context.kwargs)
        torch.testing.assert_close(AttentionFreeBlock(block)(middle), whole)
        state = whole


def test_a_transplant_comes_nearer_than_removal(model, images):
    removal = RemovalSet.of([1])
    unpruned = outputs(model, images)
    repaired = outputs(transplant(ActivationCache(model, images), removal), images)
    plain = outputs(remove_attention(model, removal).model, images)
    assert relative_entropy(unpruned, repaired) < 0.6 * relative_entropy(unpruned, plain)


def test_the_oracle_walks_all_sets(model, images):
    layers = (0, 1, 2, 3)
    pixels, _ = next(images.batches(8))
    plain = {found.code: found.logits for found in every_removal(model, pixels)}
    cache = ActivationCache(model, images, batch_size=8)
    mended = {found.code: found.logits for found in every_transplant(cache, images)}
    assert len(plain) == len(mended) == 16
    code = code_of(REMOVAL, layers)
    with torch.no_grad():
        expected = remove_attention(model, REMOVAL).model(pixels)
    torch.testing.assert_close(plain[code], expected, rtol=1e-4, atol=1e-4)
    expected = outputs(transplant(cache, REMOVAL), images)
    torch.testing.assert_close(mended[code], expected, rtol=1e-3, atol=1e-3)


def test_the_prior_knows_each_layer(model, images):
    prior = measure_prior(ActivationCache(model, images, batch_size=8))
    assert [layer.index for layer in prior.layers] == [0, 1, 2, 3]
    assert all(layer.relative_entropy > 0 for layer in prior.layers)
    assert prior.path[-1].removal == RemovalSet.of(range(4))


@pytest.mark.parametrize("compensation", ["paper", "none"])
def test_dilution_begins_whole_and_ends_plain(model, images, compensation):
    diluted = dilute(model, REMOVAL, compensation=compensation)
    torch.testing.assert_close(
        outputs(diluted, images), outputs(model, images), rtol=1e-4, atol=1e-4
    )
    set_lambda(diluted, 0)
    finished = finish(diluted)
    torch.testing.assert_close(
        outputs(finished, images), outputs(diluted, images), rtol=1e-3, atol=1e-3
    )
    plain = remove_attention(model, REMOVAL).model
    assert set(finished.state_dict()) == set(plain.state_dict())


def test_the_given_model_is_left_alone(model, images):
    before = copy.deepcopy(model.state_dict())
    transplant(ActivationCache(model, images, batch_size=8), REMOVAL)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_downsampling_makes_up_for_the_first_attention_of_a_stage(images):
    model, first = build("swin", window_size=2), RemovalSet.of([2])
    unpruned = outputs(model, images)
    repaired = transplant(ActivationCache(model, images), first)
    plain = outputs(remove_attention(model, first).model, images)
    before = model.layers[1].downsample.reduction.weight
    assert not torch.equal(repaired.layers[1].downsample.reduction.weight, before)
    assert relative_entropy(unpruned, outputs(repaired, images)) < 0.6 * relative_entropy(
        unpruned, plain
    )


def test_windows_that_reach_beyond_the_map(images):
    model = build("swin", window_size=3)
    diluted = dilute(model, REMOVAL, compensation="none")
    torch.testing.assert_close(outputs(diluted, images), outputs(model, images))
    with pytest.raises(UnsupportedModelError, match=r"windows of 3x3 don't divide .* of 8x8"):
        dilute(model, REMOVAL, compensation="paper")


def test_a_model_with_convolutions_between_is_no_row():
    with pytest.raises(UnsupportedModelError, match="MetaFormer is not a plain sequence of blocks"):
        check_blockwise(create_model("caformer_s18"))
