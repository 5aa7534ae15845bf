"""The prior: what is known about removal sets before any trial.

It consists of entropies, scores, spectra and the NOSE path.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from lambda_nas.errors import NonFiniteError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import NO_MERGING, Merging
from lambda_nas.models.removal import RemovalSet
from lambda_nas.scoring.activation_cache import ActivationCache
from lambda_nas.scoring.entropy import GaussianEntropy, relative_entropy
from lambda_nas.scoring.forwards import Forwards
from lambda_nas.scoring.spectrum import high_frequency_shares

ScoreName = Literal["relative-entropy", "transfer-entropy"]
Target = Literal["head", "features"]
Order = Literal["absolute", "signed"]


@dataclass(frozen=True)
class LayerPrior:
    """Entropies (nats) of the branch outputs of one layer, and the scores of removing it alone.

    ``high_frequency`` is the high-frequency share of the unpruned block's output. Values that need
    a model to be run block by block are ``None`` for other models.
    """

    index: int
    entropy_attn: float | None
    entropy_mlp: float | None
    transfer_entropy: float
    relative_entropy: float
    high_frequency: float | None


@dataclass(frozen=True)
class NoseStep:
    """One greedy step: the layer added, the resulting removal set and its score.

    ``high_frequency`` is the high-frequency share of every block's output under the removal set;
    it is empty for a model that can't be run block by block.
    """

    added: int
    removal: RemovalSet
    score: float
    high_frequency: tuple[float, ...]

    def row(self) -> dict[str, object]:
        """Return the step as JSON values."""
        return {
            "added": self.added,
            "removed": list(self.removal),
            "score": self.score,
            "high_frequency": list(self.high_frequency),
        }


@dataclass(frozen=True)
class Prior:
    """Everything known before the first rung: each layer alone, and the NOSE path."""

    layers: tuple[LayerPrior, ...]
    path: tuple[NoseStep, ...]
    score: ScoreName
    target: Target
    order: Order
    images: int


class Scorer:
    """Scores architectures by plain removal without repair, each once.

    Args:
        forwards: The outputs of the unpruned model on the calibration images.
        target: Where transfer entropy is measured: ``head`` (logits) or ``features`` before it.

    Raises:
        NonFiniteError: If the unpruned model's outputs are not finite.
    """

    def __init__(self, forwards: Forwards, *, target: Target = "head") -> None:
        self.forwards = forwards
        self.target = target
        self._scores: dict[Architecture, tuple[float, float]] = {}
        with _branch_entropies(forwards) as self.branch_entropies:
            features, logits = self._outputs(Architecture(RemovalSet()))
        self._logits = logits.double()
        self._entropy = self._target_entropy(features, logits)

    def relative_entropy(self, removal: RemovalSet, merging: Merging = NO_MERGING) -> float:
        """Return ``KL(S)``: mean over images of ``D_KL(p_full || p_S)``, in nats."""
        return self._score(Architecture(removal, merging))[0]

    def transfer_entropy(self, removal: RemovalSet) -> float:
        """Return ``TE(S)``: the target's entropy unpruned minus that under ``removal``, in nats."""
        return self._score(Architecture(removal))[1]

    def scored(self) -> tuple[Architecture, ...]:
        """Return the architectures scored so far."""
        return tuple(self._scores)

    def score(self, removal: RemovalSet, name: ScoreName, order: Order) -> float:
        """Return the score that NOSE minimizes; ``order`` affects transfer entropy only."""
        if name == "relative-entropy":
            return self.relative_entropy(removal)
        entropy = self.transfer_entropy(removal)
        return abs(entropy) if order == "absolute" else entropy

    def _score(self, architecture: Architecture) -> tuple[float, float]:
        if architecture not in self._scores:
            features, logits = self._outputs(architecture)
            divergence = relative_entropy(self._logits, logits.double())
            entropy = self._entropy - self._target_entropy(features, logits)
            self._scores[architecture] = divergence.item(), entropy
        return self._scores[architecture]

    def _outputs(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        features, logits = self.forwards.head(architecture.removal, architecture.merging)
        if not torch.isfinite(logits).all():
            raise NonFiniteError(
                f"the model's outputs are not finite with the architecture {architecture}: "
                "check its weights and the images"
            )
        return features, logits

    def _target_entropy(self, features: Tensor, logits: Tensor) -> float:
        chosen = logits if self.target == "head" else features
        return GaussianEntropy.empty().update(chosen).value


@contextmanager
def _branch_entropies(
    forwards: Forwards,
) -> Iterator[dict[tuple[int, str], GaussianEntropy]]:
    """Collect the entropy of every attention and MLP output inside the ``with`` block."""
    found: dict[tuple[int, str], GaussianEntropy] = {}

    def collect(key: tuple[int, str], _module: object, _args: object, output: Tensor) -> None:
        found[key] = found.get(key, GaussianEntropy.empty()).update(output)

    hooks = []
    # In other models attention may return a tuple or run in parts.
    if isinstance(forwards, ActivationCache):
        for layer in forwards.layers:
            block = forwards.blocks[layer]
            for kind in ("attn", "mlp"):
                module = block.get_submodule(kind)
                hooks.append(module.register_forward_hook(partial(collect, (layer, kind))))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def layer_priors(
    scorer: Scorer, *, on_layer: Callable[[], None] | None = None
) -> tuple[LayerPrior, ...]:
    """Return the prior of each removable layer on its own (paper, figures 1 and 2)."""
    rows = []
    shares = _high_frequency(scorer.forwards, RemovalSet())
    for layer in scorer.forwards.layers:
        alone = RemovalSet.of([layer])
        attn, mlp = (scorer.branch_entropies.get((layer, kind)) for kind in ("attn", "mlp"))
        rows.append(
            LayerPrior(
                index=layer,
                entropy_attn=attn.value if attn else None,
                entropy_mlp=mlp.value if mlp else None,
                transfer_entropy=scorer.transfer_entropy(alone),
                relative_entropy=scorer.relative_entropy(alone),
                high_frequency=shares[layer] if shares else None,
            )
        )
        if on_layer:
            on_layer()
    return tuple(rows)


def nose_path(
    scorer: Scorer,
    *,
    length: int,
    score: ScoreName = "relative-entropy",
    order: Order = "absolute",
    candidates: tuple[int, ...] | None = None,
    on_step: Callable[[], None] | None = None,
) -> tuple[NoseStep, ...]:
    """Grow a removal set greedily, adding the layer with the smallest score (paper, algorithm 1).

    Args:
        scorer: Scores the removal sets.
        length: Number of steps; the path ends early when no candidate is left.
        score: The score to minimize.
        order: Whether to minimize the absolute transfer entropy or, as the paper writes, the
            signed one.
        candidates: Layers that may be removed; by default all removable ones.
        on_step: Called after each step.
    """
    left = list(scorer.forwards.layers if candidates is None else candidates)
    path: list[NoseStep] = []
    current = RemovalSet()
    while left and len(path) < length:
        scores = {layer: scorer.score(current.add(layer), score, order) for layer in left}
        added = min(left, key=scores.__getitem__)
        left.remove(added)
        current = current.add(added)
        shares = _high_frequency(scorer.forwards, current)
        path.append(NoseStep(added, current, scores[added], shares))
        scorer.forwards.keep_only_above(current)
        if on_step:
            on_step()
    return tuple(path)


def _high_frequency(forwards: Forwards, removal: RemovalSet) -> tuple[float, ...]:
    if isinstance(forwards, ActivationCache):
        return high_frequency_shares(forwards, removal)
    return ()


def measure_prior(
    forwards: Forwards,
    *,
    score: ScoreName = "relative-entropy",
    target: Target = "head",
    order: Order = "absolute",
    length: int | None = None,
    on_step: Callable[[], None] | None = None,
) -> Prior:
    """Measure every layer alone and walk the NOSE path over ``score``."""
    scorer = Scorer(forwards, target=target)
    steps = len(forwards.layers) if length is None else length
    return Prior(
        layers=layer_priors(scorer, on_layer=on_step),
        path=nose_path(scorer, length=steps, score=score, order=order, on_step=on_step),
        score=score,
        target=target,
        order=order,
        images=len(forwards.images),
    )
