"""Builds image datasets for training classifiers from recipes: what to draw, in words and numbers.

The Python API is three functions, the same that the verbs use:

    from factory import build, load_recipe, plan

    recipe = load_recipe("quickstart/base-class", images_per_class=20)
    print(plan(recipe).rows(0, 3))
    build(recipe, "out/digits")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.builder import build
    from factory.library import load_recipe, load_recipes
    from factory.planner import plan

__version__ = "0.1.0"
__all__ = ["__version__", "build", "load_recipe", "load_recipes", "plan"]

_HOMES = {
    "build": "factory.builder",
    "load_recipe": "factory.library",
    "load_recipes": "factory.library",
    "plan": "factory.planner",
}


def __getattr__(name: str) -> Any:
    """Import a function of the API when first asked for, so that `import factory` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'factory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
