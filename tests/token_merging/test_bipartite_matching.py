"""Which tokens are merged into which, and what is left of them."""

import pytest
import torch

from lambda_nas.token_merging.bipartite_matching import Tokens, match, merge_most_similar


def random_tokens(number, *, protected=0, batch=2):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(batch, number, 6, generator=generator, dtype=torch.float64)
    keys = torch.randn(batch, number, 4, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 5, (batch, number, 1), generator=generator).double()
    sizes[:, :protected] = 1
    return Tokens(x, sizes), keys


@pytest.mark.parametrize("number", [11, 12])
@pytest.mark.parametrize("protected", [0, 1, 2])
def test_what_merging_keeps(number, protected):
    tokens, keys = random_tokens(number, protected=protected)
    # The protected tokens would be the first to go, if they could.
    keys[:, :protected] = keys[:, protected : protected + 1]
    merged = merge_most_similar(tokens, keys, r=4, protected=protected)
    assert merged.x.shape == (2, number - 4, 6)
    assert torch.equal(merged.x[:, :protected], tokens.x[:, :protected])
    assert merged.sizes[:, :protected].eq(1).all()
    # Nothing is lost: neither patches nor their sum.
    assert torch.equal(merged.sizes.sum(1), tokens.sizes.sum(1))
    torch.testing.assert_close(
        (merged.x * merged.sizes).sum(1), (tokens.x * tokens.sizes).sum(1), rtol=1e-12, atol=1e-12
    )


def test_the_most_similar_pairs_by_hand():
    # A are the tokens 0, 2, 4; B are 1 and 3. Length does not count, direction does.
    angles = torch.tensor([0.0, 0.1, 1.6, 1.5, 0.7], dtype=torch.float64)
    lengths = torch.tensor([1.0, 9.0, 2.0, 0.1, 30.0], dtype=torch.float64)
    keys = (lengths * torch.stack([angles.cos(), angles.sin()])).T[None]
    matching = match(keys, 2)
    assert sorted(zip(matching.merged[0].tolist(), matching.into[0].tolist(), strict=True)) == [
        (0, 0),
        (1, 1),
    ]
    assert matching.kept.tolist() == [[2]]
    x = torch.tensor([1.0, 3.0, 10.0, 30.0, 100.0], dtype=torch.float64).view(1, 5, 1)
    sizes = torch.tensor([3.0, 1.0, 1.0, 4.0, 7.0], dtype=torch.float64).view(1, 5, 1)
    merged = merge_most_similar(Tokens(x, sizes), keys, r=2, protected=0)
    assert merged.x.flatten().tolist() == [100.0, (3 * 1 + 3) / 4, (10 + 4 * 30) / 5]
    assert merged.sizes.flatten().tolist() == [7.0, 4.0, 5.0]


def test_several_tokens_may_go_into_one():
    keys = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.0]]])
    x = torch.tensor([[[1.0], [2.0], [6.0], [50.0]]])
    merged = merge_most_similar(Tokens(x, None), keys, r=2, protected=0)
    assert merged.x.flatten().tolist() == [3.0, 50.0]
    assert merged.sizes.flatten().tolist() == [3.0, 1.0]


@pytest.mark.parametrize("r", [1, 3])
def test_the_order_within_each_set_does_not_matter(r):
    tokens, keys = random_tokens(13, protected=1)
    order = torch.tensor([0, 11, 4, 1, 10, 7, 2, 9, 12, 3, 8, 5, 6])
    assert all(place % 2 == token % 2 for place, token in enumerate(order[1:].tolist(), start=1))
    shuffled = Tokens(tokens.x[:, order], tokens.sizes[:, order])
    one = merge_most_similar(tokens, keys, r=r, protected=1)
    other = merge_most_similar(shuffled, keys[:, order], r=r, protected=1)

    def as_set(found):
        rows = torch.cat(found, -1)
        return [sorted(map(tuple, image.tolist())) for image in rows]

    assert torch.tensor(as_set(one)).allclose(torch.tensor(as_set(other)), rtol=1e-12)


def test_gradients_are_right():
    tokens, keys = random_tokens(9, protected=1, batch=1)

    def merge(x):
        return merge_most_similar(Tokens(x, tokens.sizes), keys, r=3, protected=1).x

    assert torch.autograd.gradcheck(merge, tokens.x.requires_grad_())
