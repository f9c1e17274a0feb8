"""Base of the classes that check recipes, manifests and other files, and texts of their errors."""

from pydantic import BaseModel, ConfigDict, ValidationError

from factory.common.errors import Fault


class Frozen(BaseModel):
    """Unknown keys are errors, values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def invalid_values(error: ValidationError, file: object) -> list[Fault]:
    """Return a fault for each invalid value of a file."""
    return [
        Fault(
            one["msg"].removeprefix("Value error, "),
            file=str(file),
            key=".".join(map(str, one["loc"]))[:100],
        )
        for one in error.errors(include_url=False, include_input=False)
    ]


def first_invalid(error: ValidationError) -> str:
    """Return the first invalid value in one line: `key: message`."""
    return str(invalid_values(error, "")[0])
