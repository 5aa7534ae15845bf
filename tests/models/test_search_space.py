import pytest

from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import MERGING, SearchSpace
from lambda_nas.strategy.optuna_trials import distributions

MERGINGS = (Merging(4), Merging(4, start=2), Merging(8, start=1))
CHOICES = SearchSpace((0, 1, 3), MERGINGS)


@pytest.mark.parametrize("merging", [NO_MERGING, *MERGINGS], ids=str)
@pytest.mark.parametrize("layers", [(), (1,), (0, 3)])
def test_an_architecture_is_what_its_parameters_and_its_text_say(layers, merging):
    one = Architecture.of(layers, merging)
    params = CHOICES.to_params(one)
    assert set(params) == set(distributions(CHOICES))
    assert params[MERGING] in distributions(CHOICES)[MERGING].choices
    assert CHOICES.to_architecture(params) == Architecture.parse(one.written()) == one


@pytest.mark.parametrize(
    "text", ["x", "0,2 r=8", "0 r=8 start=", "0;1", "0,,1", "0,", "r=8 start=0"]
)
def test_what_is_no_architecture_is_not_read(text):
    with pytest.raises(ValueError, match="is not an architecture"):
        Architecture.parse(text)


def test_without_a_choice_of_merging_there_is_no_parameter_for_it():
    search_space = SearchSpace((0, 2))
    assert list(distributions(search_space)) == ["remove layer 00", "remove layer 02"]
    assert search_space.to_params(Architecture.of([2])) == {
        "remove layer 00": False,
        "remove layer 02": True,
    }
    # Whoever queues a trial by hand may leave parameters out.
    assert search_space.to_architecture({"remove layer 02": True}) == Architecture.of([2])


def test_ways_to_merge_that_make_one_network_are_one():
    attention = range(4)
    assert CHOICES.mergings_of(RemovalSet.of([3]), attention) == [NO_MERGING, *MERGINGS]
    # Block 2 is the first left, from wherever merging starts.
    assert CHOICES.mergings_of(RemovalSet.of([0, 1]), attention) == [
        NO_MERGING,
        Merging(4),
        Merging(8, start=1),
    ]
    only_early = CHOICES.mergings_of(RemovalSet.of([1, 2, 3]), attention)
    assert only_early == [NO_MERGING, Merging(4)]
    assert CHOICES.mergings_of(RemovalSet.of(attention), attention) == [NO_MERGING]
