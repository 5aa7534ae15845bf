"""Find the attention layers a vision transformer can live without, on your hardware.

What the package offers is imported when it is first used, so that importing it takes no time. timm
learns our architectures at once if it is imported already, else when it is.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lambda_nas.pretrained.registration import register_with_timm

if TYPE_CHECKING:
    from lambda_nas.api.bench import bench as bench
    from lambda_nas.api.evaluate import evaluate as evaluate
    from lambda_nas.api.export import Exported as Exported
    from lambda_nas.api.export import export as export
    from lambda_nas.api.plan import Plan as Plan
    from lambda_nas.api.plan import plan as plan
    from lambda_nas.api.prior import MeasuredPrior as MeasuredPrior
    from lambda_nas.api.prior import prior as prior
    from lambda_nas.api.report import report as report
    from lambda_nas.api.search import search as search
    from lambda_nas.api.study import Measurement as Measurement
    from lambda_nas.api.study import ParetoPoint as ParetoPoint
    from lambda_nas.api.study import Study as Study
    from lambda_nas.api.study import open_study as open_study
    from lambda_nas.api.train import Trained as Trained
    from lambda_nas.api.train import train as train
    from lambda_nas.cost.measurement import Price as Price
    from lambda_nas.errors import InfeasibleError as InfeasibleError
    from lambda_nas.errors import InputError as InputError
    from lambda_nas.errors import LambdaNasError as LambdaNasError
    from lambda_nas.strategy.space_files import SpaceConfig as SpaceConfig
    from lambda_nas.training.evaluation import Accuracy as Accuracy

    __version__: str

_MODULES = {
    "bench": "api.bench",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "Exported": "api.export",
    "Plan": "api.plan",
    "plan": "api.plan",
    "MeasuredPrior": "api.prior",
    "prior": "api.prior",
    "report": "api.report",
    "search": "api.search",
    "Measurement": "api.study",
    "ParetoPoint": "api.study",
    "Study": "api.study",
    "open_study": "api.study",
    "Trained": "api.train",
    "train": "api.train",
    "Price": "cost.measurement",
    "InfeasibleError": "errors",
    "InputError": "errors",
    "LambdaNasError": "errors",
    "SpaceConfig": "strategy.space_files",
    "Accuracy": "training.evaluation",
}
"""The module below ``lambda_nas`` that each public name is in."""

__all__ = [
    "__version__",
    *_MODULES,
]

register_with_timm()

if not TYPE_CHECKING:  # Type checkers would take any name for known.

    def __getattr__(name):  # noqa: ANN001, ANN202
        if name == "__version__":
            value = _version()
        elif name in _MODULES:
            value = getattr(import_module(f"lambda_nas.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lambda-nas")
    except PackageNotFoundError:  # A checkout on the path, not installed.
        return "0+unknown"
