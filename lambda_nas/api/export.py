"""Exports an architecture of a study (``lambda-nas export``)."""

from dataclasses import dataclass
from pathlib import Path

from lambda_nas.api.progress.shown import progress_shown
from lambda_nas.api.study import Measurement, ParetoPoint, open_study
from lambda_nas.exports.network import Format, check_request


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        out: The folder.
        format: Of the network in it.
        point: The member of the front that was exported.
        baseline: The unpruned model.
        speedup: Of the network as it was written, over the unpruned model: 1 if it is plain.
    """

    out: Path
    format: Format
    point: ParetoPoint
    baseline: Measurement
    speedup: float


def export(
    study: str,
    out: str | Path,
    *,
    trial: int | None = None,
    max_drop: float | None = None,
    min_speedup: float | None = None,
    format: Format = "timm",
    plain: bool = False,
    storage: str | None = None,
    progress: bool = True,
) -> Exported:
    """Write an architecture of a study as a model that timm, ONNX runtimes or PyTorch load.

    Without ``trial``, ``max_drop`` and ``min_speedup`` it takes the fastest trial that loses at
    most one point of top-1.

    Args:
        study: Name of the study.
        out: Folder to write; it must not hold anything yet.
        trial: Number of a trial on the front.
        max_drop: Take the fastest trial that loses at most this fraction of top-1.
        min_speedup: Take the most accurate trial with at least this speed-up.
        format: ``timm``, ``onnx``, or ``pt2`` for torch.export.
        plain: Write for timm without lambda-nas: the same outputs, no speed-up.
        storage: SQLAlchemy URL of the study database; by default that of ``LAMBDA_NAS_STORAGE``, or
            else ``sqlite:///studies/lambda_nas.db`` below the working directory.
        progress: Whether to show progress.

    Raises:
        InputError: If the study is unknown, the weights are gone, or ``out`` or the format can't
            be had.
        InfeasibleError: If no trial of the front qualifies; names the nearest.
        ExportError: If the network can't be translated or the file gives other outputs.
        StorageError: If the database is missing or can't be used.
    """
    out = Path(out)
    check_request(out, format=format, plain=plain)
    found = open_study(study, storage=storage)
    point = found.best(trial=trial, max_drop=max_drop, min_speedup=min_speedup)
    with progress_shown(visible=progress) as shown, shown.stage("Writing", 1) as advance:
        point.export(out, format=format, plain=plain)
        advance()
    return Exported(out, format, point, found.baseline, 1.0 if plain else point.speedup)
