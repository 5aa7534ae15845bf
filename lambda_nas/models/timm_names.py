"""Classes of timm, looked up by module and name when they are needed.

Releases of timm differ in the families they have. A class that this timm lacks is a class of which
no model has an instance, so whoever asks for it gets none, and everything else works.
"""

from functools import cache
from importlib import import_module

from torch import nn


@cache
def timm_class(module: str, name: str) -> type[nn.Module] | None:
    """Return a class of timm, or ``None`` if this timm has no such module or name.

    Args:
        module: Below ``timm``, such as ``models.vision_transformer``.
        name: Of the class.

    Examples:
        >>> timm_class("models.vision_transformer", "Block").__name__
        'Block'
        >>> timm_class("models.vision_transformer", "BlockOfAnotherRelease") is None
        True
    """
    path = f"timm.{module}"
    try:
        return getattr(import_module(path), name, None)
    except ModuleNotFoundError as error:
        # If what is missing is something that timm's module imports, the installation is broken.
        if error.name != path:
            raise
        return None


@cache
def timm_classes(*names: tuple[str, str]) -> tuple[type[nn.Module], ...]:
    """Return those of the classes that this timm has, for ``isinstance``.

    Args:
        *names: Module and name of each.
    """
    found = (timm_class(module, name) for module, name in names)
    return tuple(each for each in found if each is not None)
