"""Check the name of a model before timm is imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from factory.common.errors import UserError
from factory.hub.ids import LOCAL, split_source
from factory.models.model_folder import check_model_folder
from factory.models.timm_names import may_be_timm_model, near_names


def check_model_name(name: str) -> None:
    """Check that timm has a model, or that its folder is that of a model; the Hub is not asked.

    Raises:
        UserError: It has not, with similar names; or the folder cannot be read.
    """
    source, place = split_source(name)
    if source == LOCAL:
        check_model_folder(Path(place), name)
    elif not source and (":" in name or not may_be_timm_model(name)):
        near = near_names(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise UserError(f"--model {name}: timm has no such model; {hint}")
