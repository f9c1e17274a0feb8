"""Base of the classes that check recipes, manifests and other files."""

from pydantic import BaseModel


class Frozen(BaseModel, frozen=True, extra="forbid"):
    """Unknown keys are errors, values are immutable."""
