"""Ridge regression of a linear layer, with the penalty chosen by cross-validation.

Notation: ``width`` is the layer's input width plus one for the bias; sums are over tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties, relative to the mean squared activation, in the order in which they are tried."""

ALONE = 1e-2
"""The penalty if there is only one image, so that none can be held out."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Weighted sums over the tokens of each fold of images, float64.

    Attributes:
        gram: Products of inputs with inputs, ``[folds, width, width]``.
        cross: Products of inputs with residuals, ``[folds, width, channels]``.
        error: Squared residuals, ``[folds]``.
    """

    gram: Tensor
    cross: Tensor
    error: Tensor

    @classmethod
    def empty(
        cls, folds: int, width: int, channels: int, device: torch.device
    ) -> "NormalEquations":
        """Return the sums over no tokens."""
        sums = [
            torch.zeros(folds, *shape, dtype=torch.float64, device=device)
            for shape in ((width, width), (width, channels), ())
        ]
        return cls(*sums)

    def add(self, inputs: Tensor, residuals: Tensor, weights: Tensor) -> None:
        """Add a batch, assigning its images to the folds in turn.

        Args:
            inputs: The layer's inputs ``[batch, tokens, width - 1]``; tokens may have two
                dimensions.
            residuals: Targets minus the layer's outputs, ``[batch, tokens, channels]``.
            weights: Weight of the squared error at each token, ``[tokens]``.
        """
        inputs, residuals = inputs.flatten(1, -2), residuals.flatten(1, -2)
        root = weights.sqrt().view(1, -1, 1)
        design = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], dim=-1).mul_(root)
        right = residuals * root
        folds = len(self.gram)
        for fold in range(folds):
            rows, goal = design[fold::folds].flatten(0, 1), right[fold::folds].flatten(0, 1)
            self.gram[fold] += rows.T @ rows
            self.cross[fold] += rows.T @ goal
            self.error[fold] += goal.square().sum().double()

    def solve(self) -> Tensor:
        """Return the change of weight and bias ``[width, channels]`` that predicts the residuals.

        The change is penalized, which pulls towards the old weights; the bias is free. Starting
        from no change, the penalty falls until the held-out error stops falling.
        """
        gram, cross = self.gram.sum(0), self.cross.sum(0)
        if len(self.gram) == 1:
            return _ridge(gram, cross, ALONE)
        chosen, least = None, self.error.sum()
        for strength in STRENGTHS:
            error = self._held_out_error(gram, cross, strength)
            # A comparison with NaN is false, so the caller finds the NaN in the solution.
            if error >= least:
                break
            chosen, least = strength, error
        return torch.zeros_like(cross) if chosen is None else _ridge(gram, cross, chosen)

    def _held_out_error(self, gram: Tensor, cross: Tensor, strength: float) -> Tensor:
        """Return the sum of each fold's squared error under the solution of the other folds."""
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
