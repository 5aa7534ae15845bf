"""A study and the members of its front, as Python and notebooks have them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lambda_nas.api.keywords import in_python_words
from lambda_nas.cost.measurement import Price
from lambda_nas.errors import InputError
from lambda_nas.exports.front_trial import build_point, export_point
from lambda_nas.exports.network import Format
from lambda_nas.models.merging import Merging
from lambda_nas.records.selection import choose
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial
from lambda_nas.reporting.front_table import FRONT_HEAD, front_rows, front_title, html_table

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, kw_only=True)
class Measurement(Price):
    """What was measured of a network: a price and an accuracy.

    Attributes:
        accuracy: Top-1 on the evaluation images, a fraction.
    """

    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ParetoPoint(Measurement):
    """A member of a front: which layers are gone, and what was measured then.

    Attributes:
        trial: Its number in the study.
        removed: The layers without attention.
        merging: How the others merge tokens, if they do.
        rung: 0 if the closed-form repair alone was best, else the slice of training.
    """

    trial: int
    removed: tuple[int, ...]
    merging: Merging | None
    rung: int
    _info: StudyInfo = field(repr=False, compare=False)
    _member: ParetoTrial = field(repr=False, compare=False)

    def model(self) -> nn.Module:
        """Build the network with the weights that its trial left, in eval mode on the CPU.

        Raises:
            InputError: If the weights are gone: they lie on the machine that searched.
        """
        with in_python_words():
            return build_point(self._info, self._member)

    def export(self, out: str | Path, *, format: Format = "timm", plain: bool = False) -> Path:
        """Write the network, by default as ``timm.create_model("local-dir:OUT")`` loads it.

        Args:
            out: The folder; it must not hold anything yet.
            format: ``timm``, ``onnx`` or ``pt2``.
            plain: For timm without lambda-nas: the same outputs, no speed-up.

        Returns:
            The folder.

        Raises:
            InputError: If the weights are gone, or the format or ``out`` can't be had.
            ExportError: If the network can't be translated or the file gives other outputs.
        """
        folder = Path(out)
        with in_python_words():
            export_point(self._info, self._member, folder, format=format, plain=plain)
        return folder


class Study:
    """A search's results, as of the moment that it was opened.

    In a notebook it shows itself as the table of its front.
    """

    def __init__(self, stored: StudyRecord) -> None:
        self._stored = stored

    @property
    def name(self) -> str:
        """Its name in the database."""
        return self._stored.info.name

    @property
    def baseline(self) -> Measurement:
        """The unpruned model; its speed-up is 1."""
        info = self._stored.info
        return Measurement(accuracy=info.baseline_accuracy, **asdict(info.baseline))

    @property
    def front(self) -> list[ParetoPoint]:
        """The non-dominated over accuracy, throughput and memory, slowest first."""
        return [self._point(member) for member in self._stored.front]

    def best(
        self, *, max_drop: float | None = None, min_speedup: float | None = None
    ) -> ParetoPoint:
        """Pick the fastest within a drop, or the most accurate that is fast enough.

        Args:
            max_drop: Top-1 that may be lost against the unpruned model, a fraction: 0.01, the
                default, is one point. (The command line's ``--max-drop`` counts points.)
            min_speedup: Throughput at least, over that of the unpruned model.

        Raises:
            InputError: If both are given, or the drop is no fraction.
            InfeasibleError: If no member of the front qualifies; names the nearest.
        """
        points = None
        if max_drop is not None:
            if not -1 < max_drop < 1:
                raise InputError(f"max_drop {max_drop:g} is no fraction: 0.01 is one point")
            # Else 0.29 were 28.999999999999996 points.
            points = round(100 * max_drop, 6)
        with in_python_words():
            chosen = choose(
                self._stored.info, self._stored.front, max_drop=points, min_speedup=min_speedup
            )
        return self._point(chosen)

    def plot(self) -> "go.Figure":
        """Draw the front among all trials, with plotly."""
        from lambda_nas.reporting import figures

        return figures.front(self._stored)

    def _point(self, member: ParetoTrial) -> ParetoPoint:
        return ParetoPoint(
            trial=member.trial,
            removed=member.removal.layers,
            merging=member.architecture.merging or None,
            accuracy=member.accuracy,
            rung=member.rung,
            **asdict(member.price),
            _info=self._stored.info,
            _member=member,
        )

    def __repr__(self) -> str:
        trials, front = len(self._stored.trials), len(self._stored.front)
        return f"<Study {self.name}: {trials} trials, {front} on the front>"

    def _repr_html_(self) -> str:
        info, front = self._stored.info, self._stored.front
        return html_table(FRONT_HEAD, front_rows(info, front), front_title(info))
