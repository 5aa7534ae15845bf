"""What a search is given: its settings, and the task that every worker gets a copy of."""

from dataclasses import dataclass, field

from torch import nn

from lambda_nas.cost.constraints import Constraints
from lambda_nas.data.image_set import ImageSet
from lambda_nas.models.merging import Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.models.search_space import SearchSpace
from lambda_nas.training.config import TrainConfig


@dataclass(frozen=True)
class Budget:
    """When a search stops; exactly one of the two is set.

    Attributes:
        trials: Evaluated trials in the whole study.
        seconds: Wall time of this run.
    """

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        budget: When to stop.
        max_removed: Maximum number of layers that a trial removes.
        layers: Layers that may be removed.
        mergings: Ways to merge tokens, besides merging none.
        workers: Trials that run at the same time.
        gpus_per_trial: GPUs per trial; may be a fraction.
        ray_address: Address of the Ray cluster to join; ``None`` starts one for this search.
        trial_timeout: Seconds that a trial may take; ``None`` takes them from what is known.
        constraints: Constraints on the price of an architecture.
        seeds: Removal sets to evaluate first.
        seed: Random seed of the sampler.
        batch_size: Images per forward pass, in measurements and evaluation.
        prior_images: Calibration images that the prior is measured on.
    """

    budget: Budget
    max_removed: int
    layers: tuple[int, ...]
    mergings: tuple[Merging, ...] = ()
    workers: int = 1
    gpus_per_trial: float = 0.0
    ray_address: str | None = None
    trial_timeout: float | None = None
    constraints: Constraints = field(default_factory=Constraints)
    seeds: tuple[RemovalSet, ...] = ()
    seed: int = 0
    batch_size: int = 32
    prior_images: int = 100

    @property
    def search_space(self) -> SearchSpace:
        """The architectures that the search may propose."""
        return SearchSpace(self.layers, self.mergings)


@dataclass(frozen=True, eq=False)
class SearchTask:
    """The model and the data of a search; each worker gets it once, from Ray's object store.

    Attributes:
        model: The unpruned model.
        calibration: Images for the prior and the repair; no labels are used.
        evaluation: Images that trials are compared on.
        training: Images for dilution; ``None`` if there are none.
        rungs: One training configuration per rung after rung 0; empty without training images.
        device: Where to measure and train.
    """

    model: nn.Module
    calibration: ImageSet
    evaluation: ImageSet
    training: ImageSet | None
    rungs: tuple[TrainConfig, ...]
    device: str
