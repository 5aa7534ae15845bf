"""What merging saves is counted block by block; the reference counts whole networks."""

import pytest
import torch

from lambda_nas.cost.measurement import count_macs
from lambda_nas.cost.merging_work import measure_merging_work
from lambda_nas.errors import UnsupportedModelError
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.surgery import remove_attention
from lambda_nas.token_merging.blocks import merge_tokens


@pytest.mark.parametrize(
    "merging", [Merging(2), Merging(2, start=2), Merging(3, start=1), Merging(50)], ids=str
)
@pytest.mark.parametrize("reg_tokens", [0, 3])
def test_what_is_saved_is_the_difference_of_whole_networks(make_vit, merging, reg_tokens):
    model = make_vit(depth=5, reg_tokens=reg_tokens)
    image = torch.zeros(1, 3, *model.patch_embed.img_size)
    work = measure_merging_work(model, merging.r, image)
    saved = []
    for layers in ([], [0], [1, 3], [0, 1, 2], [3, 4], [0, 2, 3, 4][: 4 - merging.start]):
        removal = RemovalSet.of(layers)
        pruned = remove_attention(model, removal).model if removal else model
        merged = merge_tokens(pruned, merging)
        attending = [block for block in range(5) if block not in removal]
        saved.append(work.macs_saved(attending, merging.start))
        assert saved[-1] == count_macs(pruned, image) - count_macs(merged, image)
    assert len(set(saved)) > 3


def test_a_model_that_cant_merge_has_no_work(make_vit):
    model = make_vit(global_pool="avg")
    with pytest.raises(UnsupportedModelError, match="global_pool 'avg'"):
        measure_merging_work(model, 2, torch.zeros(1, 3, *model.patch_embed.img_size))
