"""The removal set: order, identity, and what it refuses."""

import pytest

from lambda_nas.errors import InputError
from lambda_nas.models.removal import RemovalSet


def test_order_and_repeats_of_what_is_given_do_not_matter():
    assert RemovalSet.of([4, 0, 2, 0]) == RemovalSet.of((0, 2, 4)) == RemovalSet((0, 2, 4))
    assert len({RemovalSet.of([1, 2]), RemovalSet.of([2, 1])}) == 1


@pytest.mark.parametrize("layers", ["4,0,2", " 0, 2,4 ", [4, 0, 2], (0, 2, 4), {4, 2, 0}])
def test_people_name_layers_in_any_order(layers):
    assert RemovalSet.parse(layers) == RemovalSet((0, 2, 4))


@pytest.mark.parametrize(
    "layers",
    ["", "0,,2", "0;2", "-1", "1.5", "x", "{0,2}", "²", [], [0.5], [-1], [True], [None], None, 1.5],
)
def test_what_is_no_list_of_layers(layers):
    with pytest.raises(InputError, match=r"^remove .*: not layer indices; expected indices from 0"):
        RemovalSet.parse(layers)


def test_no_layer_is_named_twice():
    with pytest.raises(InputError, match=r"^remove 0,02,2,0: names 0, 2 twice$"):
        RemovalSet.parse("0,02,2,0")


def test_add_leaves_the_original_alone():
    before = RemovalSet.of([3])
    assert before.add(1) == RemovalSet((1, 3))
    assert before.add(3) == before == RemovalSet((3,))


def test_below_is_strict():
    layers = RemovalSet.of([1, 3, 5])
    assert layers.below(3) == RemovalSet((1,))
    assert layers.below(0) == RemovalSet()
    assert layers.below(6) == layers


def test_it_is_a_collection_of_layers():
    layers = RemovalSet.of([7, 2])
    assert (list(layers), len(layers), 2 in layers, 3 in layers) == ([2, 7], 2, True, False)
    assert (str(layers), str(RemovalSet())) == ("{2,7}", "{}")
    assert not RemovalSet()


def test_sets_sort_by_their_layers():
    assert sorted([RemovalSet((1,)), RemovalSet((0, 5)), RemovalSet()]) == [
        RemovalSet(),
        RemovalSet((0, 5)),
        RemovalSet((1,)),
    ]


@pytest.mark.parametrize("layers", [(2, 1), (1, 1)])
def test_a_tuple_out_of_order_is_refused(layers):
    with pytest.raises(ValueError, match="ascend without repeats"):
        RemovalSet(layers)
