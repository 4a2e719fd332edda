"""The importers, one file per family; importing this package fills the table."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    if not _module.name.endswith("_test"):
        import_module(f"{__name__}.{_module.name}")
