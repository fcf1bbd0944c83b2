"""Time-resolved single-particle simulation and temporal ICA.

`tempica.run(recipe)` carries out a recipe, `tempica.open_movie(run)` and `tempica.open_store(path, kind)` open what it
made, and `tempica.load_recipe(path)` reads and checks a recipe. `tempica.design(recipe)` foresees what an experiment
needs. Estimators are in `tempica.ica`, metrics in `tempica.evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tempica._version import __version__

if TYPE_CHECKING:
    from tempica.designs.design import design
    from tempica.pipeline import load_recipe, run
    from tempica.stores.reading import open_movie, open_store

__all__ = ["__version__", "design", "load_recipe", "open_movie", "open_store", "run"]

_HOME = {
    "run": "pipeline",
    "design": "designs.design",
    "load_recipe": "pipeline",
    "open_movie": "stores.reading",
    "open_store": "stores.reading",
}


def __getattr__(name: str) -> Any:
    # imported on first use: `import tempica` and `tempica --help` stay fast
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
