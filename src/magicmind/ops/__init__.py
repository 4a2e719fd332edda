"""The operators, one file each (or per tight family); importing this package fills the registry.

An operator's type rule and reference stand in `<name>.py`, its lowering to kernels in `lower_<name>.py` where that is
long.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    if not _module.name.endswith("_test"):
        import_module(f"{__name__}.{_module.name}")

import_module(f"{__name__}.late").attach()
