"""A study and the members of its front, as Python and notebooks have them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lambda_nas.cost.measurement import Price
from lambda_nas.exports.front_trial import build_trial, export_trial
from lambda_nas.exports.network import Format
from lambda_nas.models.merging import Merging
from lambda_nas.records.front import hypervolume
from lambda_nas.records.selection import choose
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial, TrialCounts
from lambda_nas.records.weights import StudyWeights
from lambda_nas.reporting.formatting import describe, printable
from lambda_nas.reporting.front_table import FRONT_HEAD, front_rows, front_title, html_table
from lambda_nas.store.study_store import SqlStudyStore
from lambda_nas.strategy.optuna_trials import count_stored

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
        merging: How the other layers merge tokens, if they do.
        rung: 0 if the closed-form repair alone was best, else the slice of training.
    """

    trial: int
    removed: tuple[int, ...]
    merging: Merging | None
    rung: int
    _info: StudyInfo = field(repr=False, compare=False)
    _member: ParetoTrial = field(repr=False, compare=False)
    _weights: StudyWeights = field(repr=False, compare=False)

    @classmethod
    def of(cls, info: StudyInfo, member: ParetoTrial, weights: StudyWeights) -> "ParetoPoint":
        """Return a stored member of a study's front."""
        return cls(
            trial=member.trial,
            removed=member.removal.layers,
            merging=member.architecture.merging or None,
            accuracy=member.accuracy,
            rung=member.rung,
            **asdict(member.price),
            _info=info,
            _member=member,
            _weights=weights,
        )

    @property
    def summary(self) -> str:
        """What was done to the unpruned model, in a few words."""
        return describe(self._member.architecture)

    def model(self) -> nn.Module:
        """Build the network with the weights that its trial left, in eval mode on the CPU.

        Raises:
            InputError: If the weights are gone (they are on the machine that searched), damaged,
                or another study's.
        """
        return build_trial(self._info, self._member, self._weights)

    def export(self, out: str | Path, *, format: Format = "timm", plain: bool = False) -> Path:
        """Write the network, by default as ``timm.create_model("local-dir:OUT")`` loads it.

        Args:
            out: The folder; it must not hold anything yet.
            format: ``timm``, ``onnx`` or ``pt2``.
            plain: Write for timm without lambda-nas: the same outputs, no speed-up.

        Returns:
            The folder.

        Raises:
            InputError: If the weights are gone, damaged or another study's, or the format or
                ``out`` can't be had.
            ExportError: If the network can't be translated or the file gives other outputs.
        """
        folder = Path(out)
        export_trial(self._info, self._member, self._weights, folder, format=format, plain=plain)
        return folder


class Study:
    """The results of a search, as of the moment that the study was opened.

    In a notebook it shows itself as the table of its front.

    Attributes:
        record: All that is stored of it.
        weights: Where the weights of its front's members lie.
        counts: Finished trials by state.
        ended: Why the search that returned it ended; ``None`` for one that was only opened.
    """

    def __init__(
        self,
        record: StudyRecord,
        weights: StudyWeights,
        counts: TrialCounts,
        *,
        ended: str | None = None,
    ) -> None:
        self.record = record
        self.weights = weights
        self.counts = counts
        self.ended = ended

    @property
    def name(self) -> str:
        """Its name in the database."""
        return self.record.info.name

    @property
    def baseline(self) -> Measurement:
        """The unpruned model; its speed-up is 1."""
        info = self.record.info
        return Measurement(accuracy=info.baseline_accuracy, **asdict(info.baseline))

    @property
    def front(self) -> list[ParetoPoint]:
        """The trials that no other beats in accuracy, throughput and memory, slowest first."""
        return [self._point(member) for member in self.record.front]

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the front relative to the unpruned model."""
        return hypervolume(self.record.front, self.record.info.baseline)

    def best(
        self,
        *,
        trial: int | None = None,
        max_drop: float | None = None,
        min_speedup: float | None = None,
    ) -> ParetoPoint:
        """Pick the fastest within a drop, the most accurate that is fast enough, or a trial.

        Args:
            trial: Number of a trial on the front.
            max_drop: Top-1 that may be lost against the unpruned model, a fraction; by default
                0.01, one point. (The command line counts points.)
            min_speedup: Minimum speed-up over the unpruned model.

        Raises:
            InputError: If more than one is given, the drop is no fraction, or the trial is not on
                the front.
            InfeasibleError: If no member of the front qualifies; names the nearest.
        """
        info = self.record.info
        chosen = choose(
            info, self.record.front, trial=trial, max_drop=max_drop, min_speedup=min_speedup
        )
        return self._point(chosen)

    def plot(self) -> "go.Figure":
        """Draw the front among all trials, with plotly."""
        from lambda_nas.reporting import figures

        return figures.front(self.record)

    def _point(self, member: ParetoTrial) -> ParetoPoint:
        return ParetoPoint.of(self.record.info, member, self.weights)

    def __repr__(self) -> str:
        trials, front = len(self.record.trials), len(self.record.front)
        return f"<Study {printable(self.name)}: {trials} trials, {front} on the front>"

    def _repr_html_(self) -> str:
        info, front = self.record.info, self.record.front
        return html_table(FRONT_HEAD, front_rows(info, front), front_title(info))


def open_study(
    name: str, *, storage: str | None = None, weights: str | Path | None = None
) -> Study:
    """Open a study that was searched before, from Python or on the command line.

    Args:
        name: Of the study.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        weights: The folder that the search was given for weights, if any.

    Raises:
        InputError: If there is none of this name; lists those there are.
        StorageError: If the database is missing or can't be used.
    """
    with SqlStudyStore.open(storage, create=False) as store:
        return read_study(store, name, weights=weights)


def read_study(
    store: SqlStudyStore,
    name: str,
    *,
    weights: str | Path | None = None,
    ended: str | None = None,
) -> Study:
    """Read a study of an open database.

    Raises:
        InputError: If there is none of this name; lists those there are.
        StorageError: If the database can't be used.
    """
    record = store.load(name)
    with store.reading_optuna() as optuna:
        counts = count_stored(name, optuna)
    root = store.weights_root if weights is None else Path(weights)
    return Study(record, StudyWeights.below(root, name, record.info.uuid), counts, ended=ended)
