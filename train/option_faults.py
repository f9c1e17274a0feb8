"""Convert pydantic's errors about hyperparameters to messages about command line options."""

from __future__ import annotations

import difflib

from pydantic import ValidationError

from factory.common.errors import Fault
from train.config import Augmentation


def option_faults(error: ValidationError) -> list[Fault]:
    """Return a fault for each invalid value, with its option."""
    faults = []
    for entry in error.errors():
        path = [str(part) for part in entry["loc"]]
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            near = difflib.get_close_matches(path[-1], Augmentation.model_fields, n=1)
            known = f"known: {', '.join(Augmentation.model_fields)}"
            message = f"unknown augmentation; {f'did you mean {near[0]}?' if near else known}"
        if path[0] == "augmentation":
            option = f"--augment {path[1]}" if len(path) > 1 else "--augment"
        else:
            name = "total_batch_size" if path[0] == "batch_size" else path[0]
            option = f"--{name.replace('_', '-')}"
        value = entry["input"]
        shown = f" (found {value})" if isinstance(value, str | int | float) else ""
        faults.append(Fault(f"{option}: {message}{shown}"))
    return faults
