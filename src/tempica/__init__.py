"""Time-resolved single-particle simulation and temporal ICA.

`tempica.run(recipe)` carries out a recipe, and `tempica.open("runs/NAME")` gives what it made as one object: stores,
scores, verdict and figures. `tempica.load_recipe(recipe)` reads and checks a recipe, and `tempica.design(recipe)`
foresees what an experiment needs. Estimators are in `tempica.ica`, metrics in `tempica.evaluate`, figures in
`tempica.plot`; `tempica.unmix` and `tempica.audit` take arrays and files of other programs. `tempica.cite("pcl")` says
what to cite.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tempica._version import __version__

if TYPE_CHECKING:
    from tempica import audit, evaluate, ica, plot, unmix
    from tempica.citations import cite
    from tempica.designs.design import design
    from tempica.opened import open  # noqa: F401  # not in __all__, see there
    from tempica.pipeline import load_recipe, run
    from tempica.stores.reading import open_movie, open_store

_HOME = {
    "run": "pipeline",
    "open": "opened",
    "design": "designs.design",
    "load_recipe": "pipeline",
    "cite": "citations",
    "open_movie": "stores.reading",
    "open_store": "stores.reading",
}
_MODULES = ("audit", "evaluate", "ica", "plot", "unmix")
__all__ = [  # noqa: RUF022  # without `open`: `from tempica import *` must not replace Python's own
    "__version__",
    "cite",
    "design",
    "load_recipe",
    "open_movie",
    "open_store",
    "run",
    "audit",
    "evaluate",
    "ica",
    "plot",
    "unmix",
]


def __getattr__(name: str) -> Any:
    # imported on first use: `import tempica` and `tempica --help` stay fast
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__dir__())}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*_HOME, *_MODULES, "__version__"))
