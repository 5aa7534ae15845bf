"""Ridge regression of a linear layer, its strength chosen on held-out images.

Notation: ``width`` is the layer's input width and one more, for the bias; sums are over tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Tried in this order, relative to the mean squared activation."""

ALONE = 1e-2
"""The strength where there is one image only and nothing can be held out."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Weighted sums over the tokens of each fold of images, float64.

    Attributes:
        gram: ``[folds, width, width]``, inputs by inputs.
        cross: ``[folds, width, channels]``, inputs by what the layer's output lacks.
        error: ``[folds]``, the square of what it lacks.
    """

    gram: Tensor
    cross: Tensor
    error: Tensor

    @classmethod
    def empty(
        cls, folds: int, width: int, channels: int, device: torch.device
    ) -> "NormalEquations":
        """Return sums over nothing."""
        sums = [
            torch.zeros(folds, *shape, dtype=torch.float64, device=device)
            for shape in ((width, width), (width, channels), ())
        ]
        return cls(*sums)

    def add(self, inputs: Tensor, lacking: Tensor, weights: Tensor) -> None:
        """Add a batch; images are dealt to the folds in turn.

        Args:
            inputs: ``[batch, tokens, width - 1]``; tokens may have two dimensions.
            lacking: ``[batch, tokens, channels]``.
            weights: ``[tokens]``, how much a squared error at each token counts.
        """
        inputs, lacking = inputs.flatten(1, -2), lacking.flatten(1, -2)
        root = weights.sqrt().view(1, -1, 1)
        design = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], dim=-1).mul_(root)
        right = lacking * root
        folds = len(self.gram)
        for fold in range(folds):
            rows, goal = design[fold::folds].flatten(0, 1), right[fold::folds].flatten(0, 1)
            self.gram[fold] += rows.T @ rows
            self.cross[fold] += rows.T @ goal
            self.error[fold] += goal.square().sum().double()

    def solve(self) -> Tensor:
        """Return the change ``[width, channels]`` of weight and bias that predicts best.

        The penalty is on the change, so it pulls to the old weights; the bias is free. Starting
        from no change at all, strengths fall until held-out images are predicted no better.
        """
        gram, cross = self.gram.sum(0), self.cross.sum(0)
        if len(self.gram) == 1:
            return _ridge(gram, cross, ALONE)
        chosen, least = None, self.error.sum()
        for strength in STRENGTHS:
            error = self._held_out_error(gram, cross, strength)
            # A comparison with NaN is false, and the caller sees the NaN in the solution.
            if error >= least:
                break
            chosen, least = strength, error
        return torch.zeros_like(cross) if chosen is None else _ridge(gram, cross, chosen)

    def _held_out_error(self, gram: Tensor, cross: Tensor, strength: float) -> Tensor:
        """Return the squared error of each fold under the solution of the others, summed."""
        total = self.error.sum()
        for own_gram, own_cross in zip(self.gram, self.cross, strict=True):
            change = _ridge(gram - own_gram, cross - own_cross, strength)
            total = total + (change * (own_gram @ change - 2 * own_cross)).sum()
        return total


def _ridge(gram: Tensor, cross: Tensor, strength: float) -> Tensor:
    system = gram.clone()
    # The bias is free.
    system.diagonal()[:-1] += strength * gram.diagonal()[:-1].mean()
    return torch.linalg.solve(system, cross)
