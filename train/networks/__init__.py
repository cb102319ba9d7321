"""Networks: plain modules that know no losses, each with its frozen params dataclass.

Every module of this package is imported here, so a network is added by writing one file.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
