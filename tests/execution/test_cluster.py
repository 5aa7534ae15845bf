import pytest

from lambda_nas.errors import InputError
from lambda_nas.execution.cluster import Node, share_threads


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "threads"),
    [
        ([Node(8, 0)], 1, 0.0, 8),
        ([Node(8, 0)], 3, 0.0, 2),
        ([Node(4, 0), Node(4, 0)], 2, 0.0, 4),
        ([Node(4, 0), Node(4, 0)], 3, 0.0, 2),
        ([Node(16, 0), Node(4, 0)], 3, 0.0, 5),
        # The second node's GPU is of no use to a third trial: there is none.
        ([Node(16, 1), Node(16, 1)], 2, 1.0, 16),
        ([Node(16, 1), Node(16, 1)], 4, 0.5, 8),
        ([Node(49, 1)], 49, 1 / 49, 1),
        ([Node(8, 4), Node(64, 1)], 2, 2.0, 4),
        # One that has no GPU gives its cores to nobody.
        ([Node(64, 0), Node(8, 2)], 2, 1.0, 4),
        # More workers than room: those that wait get theirs when a node joins.
        ([Node(2, 0)], 5, 0.0, 1),
    ],
)
def test_threads_let_all_workers_run_at_once(nodes, workers, gpus, threads):
    assert share_threads(nodes, workers, gpus) == threads


@pytest.mark.parametrize(
    ("nodes", "gpus", "most"),
    [([Node(8, 1), Node(8, 1)], 2.0, 1), ([Node(8, 0)], 0.5, 0), ([], 0.0, 0)],
)
def test_a_trial_that_fits_nowhere_is_refused(nodes, gpus, most):
    with pytest.raises(InputError, match=f"gpus_per_trial {gpus:g}: .* on a machine is {most}: "):
        share_threads(nodes, 1, gpus)
