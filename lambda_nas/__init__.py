"""Find the attention layers a vision transformer can live without, on your hardware.

Importing the package registers its architectures with timm, so that an exported folder loads.
"""

from importlib.metadata import PackageNotFoundError, version

# The function takes the place of the package `lambda_nas.search` as an attribute, and keeps it: the
# package has just been imported, and Python sets the attribute the first time only. What imports
# from the package (`from lambda_nas.search.x import y`) does not look at the attribute.
from lambda_nas.api.search import open_study, search
from lambda_nas.api.study import Measurement, ParetoPoint, Study
from lambda_nas.pretrained import entry_points as registry

__all__ = ["Measurement", "ParetoPoint", "Study", "__version__", "open_study", "registry", "search"]

try:
    __version__ = version("lambda-nas")
except PackageNotFoundError:  # A checkout on the path, not installed.
    __version__ = "0+unknown"
