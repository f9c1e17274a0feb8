"""Scores trained models on real images.

From Python, a trained model names what photos show:

    from eval import load_classifier

    load_classifier("runs/pets")(["cat.jpg", "dog.jpg"], top_k=3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.classifier import load_classifier

__all__ = ["load_classifier"]


def __getattr__(name: str) -> Any:
    """Import the function on first use, so that `import eval` is fast."""
    if name not in __all__:
        raise AttributeError(f"module 'eval' has no attribute {name!r}")
    from eval.classifier import load_classifier

    return load_classifier
