"""Build image datasets for training classifiers from recipes.

The Python API has three functions, which the commands use too:

    from factory import build, load_recipe, plan

    recipe = load_recipe("quickstart/base-class", images_per_class=20)
    print(plan(recipe).rows(0, 3))
    build(recipe, "out/digits")
"""

from __future__ import annotations

from importlib import import_module

from factory.common.version import VERSION as __version__

# Type checkers take it for true; importing `typing` would take most of the time of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from factory.builder.build import build
    from factory.planner.plan import plan
    from factory.recipe.library import load_recipe, load_recipes

__all__ = ["__version__", "build", "load_recipe", "load_recipes", "plan"]

_HOMES = {
    "build": "factory.builder.build",
    "load_recipe": "factory.recipe.library",
    "load_recipes": "factory.recipe.library",
    "plan": "factory.planner.plan",
}


def __getattr__(name: str) -> Any:
    """Import an API function on first use, so that `import factory` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'factory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
