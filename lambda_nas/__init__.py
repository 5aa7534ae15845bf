"""Find the attention layers a vision transformer can live without, on your hardware.

Importing the package registers its architectures with timm, so that an exported folder loads.
"""

from importlib.metadata import PackageNotFoundError, version

from lambda_nas import registry

__all__ = ["__version__", "registry"]

try:
    __version__ = version("lambda-nas")
except PackageNotFoundError:  # A checkout on the path, not installed.
    __version__ = "0+unknown"
