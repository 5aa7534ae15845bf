"""Measures what each layer is worth (``lambda-nas prior``)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lambda_nas.api.inputs.source import find_source
from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.execution.progress import MEASURING_PRIOR
from lambda_nas.scoring.forwards import forwards_of
from lambda_nas.scoring.prior import Order, Prior, ScoreName, Target, measure_prior

if TYPE_CHECKING:
    import plotly.graph_objects as go

CACHE_BYTES = 2 << 30
"""The greedy path comes back to many states; the default leaves room for a transplant."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPrior(Prior):
    """The prior, and what it was measured on.

    Attributes:
        model: The model's name.
        data: The images' name.
    """

    model: str
    data: str

    def plot(self) -> "go.Figure":
        """Draw entropies, scores and the NOSE path, with plotly."""
        from lambda_nas.reporting import figures

        layers = [asdict(layer) for layer in self.layers]
        data = figures.prior_data(layers, [step.row() for step in self.path])
        return figures.draw_prior(
            data, f"{self.model} on {self.data}", f"from {self.images} images"
        )


def prior(
    model: nn.Module | str | None = None,
    data: str | Path | None = None,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool | None = None,
    img_size: int | None = None,
    class_map: str | Path | None = None,
    score: ScoreName = "relative-entropy",
    target: Target = "head",
    order: Order = "absolute",
    seed: int = 0,
    progress: bool = True,
) -> MeasuredPrior:
    """Measure what each layer is worth, and the NOSE path, without any trial.

    Without model and data it looks at the handwritten digits.

    Args:
        model: As ``search`` takes it.
        data: An image folder, one folder per class.
        checkpoint: A file of weights to load into the model of that name.
        pretrained: Load timm's weights for one of its names; by default unless ``checkpoint`` is
            given.
        img_size: Side of the square images that the model is used on, if it isn't the one that it
            was built for; timm resamples its positions.
        class_map: A text file of class names in the order of the head.
        score: The score that NOSE minimizes.
        target: Where transfer entropy is measured: ``head`` (logits) or ``features`` before it.
        order: Minimize the ``absolute`` transfer entropy, or the ``signed`` one as the paper says.
        seed: Random seed for the data split.
        progress: Whether to show progress.

    Raises:
        InputError: If model or images can't be used.
        UnsupportedModelError: If the model has no attention layer that can be removed.
        NonFiniteError: If the model's outputs are not finite.
    """
    with progress_shown(visible=progress) as shown:
        found = find_source(
            model=model,
            data=data,
            checkpoint=checkpoint,
            pretrained=pretrained,
            img_size=img_size,
            class_map=class_map,
            seed=seed,
        )
        source = found.read(shown.stage)
        shown.notes(source.notes)
        forwards = forwards_of(source.model.model, source.data.calibration, limit_bytes=CACHE_BYTES)
        with shown.stage(MEASURING_PRIOR, 2 * len(forwards.layers)) as advance:
            measured = measure_prior(
                forwards, score=score, target=target, order=order, on_step=advance
            )
    return MeasuredPrior(**vars(measured), model=source.model.name, data=source.data_name)
