"""Base of the classes that check recipes, manifests and other files."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Unknown keys are errors, values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")
