"""The prior against a plain reference that runs the full model for every set."""

import copy

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from lambda_nas.data.image_set import ImageSet
from lambda_nas.errors import NonFiniteError
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.forwards import WholeForwards
from lambda_nas.scoring.prior import Scorer, layer_priors, nose_path
from lambda_nas.token_merging.blocks import merge_tokens

DEPTH = 5


@pytest.fixture(scope="module")
def model() -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=24,
        depth=DEPTH,
        num_heads=3,
        num_classes=7,
        global_pool="avg",
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (30, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(30, dtype=torch.int64), (0.5,) * 3, (0.5,) * 3)


@torch.no_grad()
def reference_logits(model: VisionTransformer, images: ImageSet, removal: RemovalSet) -> np.ndarray:
    """Run the whole model with hooks that zero the removed branches."""
    model = copy.deepcopy(model)
    for layer in removal:
        model.blocks[layer].attn.register_forward_hook(lambda m, a, out: torch.zeros_like(out))
    ((batch, _),) = images.batches(len(images))
    return model(batch).double().numpy()


def reference_scores(model, images, removal):
    def log_softmax(x):
        return (
            x
            - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))
            - x.max(1, keepdims=True)
        )

    full = reference_logits(model, images, RemovalSet())
    pruned = reference_logits(model, images, removal)
    p, q = log_softmax(full), log_softmax(pruned)
    kl = (np.exp(p) * (p - q)).sum(1).mean()
    te = np.log(full.std(0)).sum() - np.log(pruned.std(0)).sum()
    return kl, te


@pytest.mark.parametrize("layers", [[], [0], [4], [0, 2], [1, 3, 4], [0, 1, 2, 3, 4]])
def test_scores_equal_the_plain_reference(model, images, layers):
    removal = RemovalSet.of(layers)
    scorer = Scorer(ActivationCache(model, images, batch_size=8))
    kl, te = reference_scores(model, images, removal)
    assert scorer.relative_entropy(removal) == pytest.approx(kl, abs=1e-5)
    assert scorer.transfer_entropy(removal) == pytest.approx(te, abs=1e-5)


@pytest.mark.parametrize(
    ("score", "order"),
    [
        ("relative-entropy", "absolute"),
        ("transfer-entropy", "absolute"),
        ("transfer-entropy", "signed"),
    ],
)
def test_nose_path_equals_the_plain_reference(model, images, score, order):
    def reference(removal: RemovalSet) -> float:
        kl, te = reference_scores(model, images, removal)
        if score == "relative-entropy":
            return kl
        return abs(te) if order == "absolute" else te

    expected, current = [], RemovalSet()
    while len(current) < DEPTH:
        options = {
            layer: reference(current.add(layer)) for layer in range(DEPTH) if layer not in current
        }
        added = min(options, key=options.get)
        current = current.add(added)
        expected.append((added, options[added]))
    scorer = Scorer(ActivationCache(model, images, batch_size=8))
    path = nose_path(scorer, length=DEPTH, score=score, order=order)
    assert [step.added for step in path] == [added for added, _ in expected]
    assert [step.score for step in path] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert path[-1].removal == RemovalSet.of(range(DEPTH))


def needed_block_runs(paths: list[RemovalSet]) -> int:
    """Count the distinct (what is removed below, block, removed or not) that sets call for."""
    return len(
        {(*removal.below(i + 1).layers, i, i in removal) for removal in paths for i in range(DEPTH)}
    )


def test_no_block_input_is_computed_twice(model, images):
    cache = ActivationCache(model, images)
    nose_path(Scorer(cache), length=DEPTH)
    asked, current = [RemovalSet()], RemovalSet()
    for step in nose_path(Scorer(ActivationCache(model, images)), length=DEPTH):
        asked += [current.add(layer) for layer in range(DEPTH) if layer not in current]
        current = step.removal
    assert cache.block_runs == needed_block_runs(asked)


def test_the_unpruned_middle_is_what_norm2_reads(model, images):
    seen = []
    model.blocks[2].norm2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    cache = ActivationCache(model, images, batch_size=len(images))
    (found,) = cache.unpruned_middle(2)
    assert cache.unpruned_middle(2)[0] is found
    ((pixels, _),) = images.batches(len(images))
    with torch.no_grad():
        model(pixels)
    assert torch.equal(found, seen[-1])


def test_a_small_cache_changes_no_number(model, images):
    large = nose_path(Scorer(ActivationCache(model, images)), length=DEPTH)
    small = nose_path(Scorer(ActivationCache(model, images, limit_bytes=1)), length=DEPTH)
    assert large == small


def test_branch_entropies_equal_numpy(model, images):
    outputs = {}
    for name in ("attn", "mlp"):
        getattr(model.blocks[2], name).register_forward_hook(
            lambda m, a, out, name=name: outputs.__setitem__(name, out)
        )
    ((batch, _),) = images.batches(len(images))
    with torch.no_grad():
        model(batch)
    expected = {
        name: np.log(out.double().flatten(0, 1).numpy().std(0)).sum()
        for name, out in outputs.items()
    }
    layer = layer_priors(Scorer(ActivationCache(model, images, batch_size=7)))[2]
    assert layer.entropy_attn == pytest.approx(expected["attn"], abs=1e-5)
    assert layer.entropy_mlp == pytest.approx(expected["mlp"], abs=1e-5)


def test_features_target_is_measured_before_the_head(model, images):
    scorer = Scorer(ActivationCache(model, images), target="features")
    removal = RemovalSet.of([1, 2])

    @torch.no_grad()
    def entropy(layers):
        pruned = copy.deepcopy(model)
        for layer in layers:
            pruned.blocks[layer].attn.register_forward_hook(lambda m, a, o: torch.zeros_like(o))
        ((batch, _),) = images.batches(len(images))
        pooled = pruned.forward_head(pruned.forward_features(batch), pre_logits=True)
        return np.log(pooled.double().numpy().std(0)).sum()

    assert scorer.transfer_entropy(removal) == pytest.approx(
        entropy([]) - entropy(removal), abs=1e-5
    )


def test_nan_weights_are_refused(model, images):
    broken = copy.deepcopy(model)
    broken.head.bias.data[0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"outputs are not finite with the architecture \{\}"):
        Scorer(ActivationCache(broken, images))


@pytest.mark.parametrize("merging", [Merging(1), Merging(2, start=1), Merging(3, start=3)], ids=str)
@pytest.mark.parametrize("layers", [[], [0], [1, 2], [0, 3], [0, 1, 2]])
def test_scores_with_merged_tokens_are_those_of_whole_networks(make_vit, images, merging, layers):
    model, removal = make_vit(depth=DEPTH), RemovalSet.of(layers)
    scorer = Scorer(ActivationCache(model, images, batch_size=8))
    pruned = remove_attention(model, removal).model if layers else model
    with torch.no_grad():
        merged = merge_tokens(pruned, merging)
        whole, expected = (
            torch.cat([each(batch).double() for batch, _ in images.batches(8)]).log_softmax(1)
            for each in (model, merged)
        )
    expected = (whole.exp() * (whole - expected)).sum(1).mean().item()
    for each in (scorer, Scorer(WholeForwards(model, images))):
        assert each.relative_entropy(removal, merging) == pytest.approx(expected, abs=1e-5)


def test_no_block_is_run_twice_with_merged_tokens(make_vit, images):
    cache = ActivationCache(make_vit(depth=DEPTH), images)
    scorer = Scorer(cache)
    runs = cache.block_runs
    scorer.relative_entropy(RemovalSet.of([1]), Merging(1))
    # Block 0 merges, so nothing of the unpruned model's is of use.
    assert cache.block_runs == runs + DEPTH
    scorer.relative_entropy(RemovalSet.of([1, 3]), Merging(1))
    assert cache.block_runs == runs + DEPTH + (DEPTH - 3)
    # Without attention in block 0, blocks 0 and 1 are the starts of the same.
    scorer.relative_entropy(RemovalSet.of([0]), Merging(1))
    runs = cache.block_runs
    cache.head(RemovalSet.of([0]), Merging(1, start=1))
    assert cache.block_runs == runs
