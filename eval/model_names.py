"""Check the name of a model whose features are compared, before timm is imported."""

from __future__ import annotations

from pathlib import Path

from factory.common.errors import UserError
from factory.hub.ids import LOCAL, is_model_id, split_source
from factory.models.model_folder import check_run
from factory.models.timm_names import may_be_timm_model


def run_of(name: str, *, is_run: bool = False) -> str | None:
    """Return the run folder or model of the Hub that a name means; None for a model of timm.

    Args:
        name: Run folder (timm's `local-dir:` before it is allowed), `ORG/NAME[@REVISION]`, or
            timm's name of a model with pretrained weights.
        is_run: Whether it must be one of the first two.
    """
    source, place = split_source(name)
    if is_run or source or Path(name).exists() or is_model_id(name):
        return place if source == LOCAL else name
    return None


def check_features(name: str, *, is_run: bool) -> None:
    """Check a name as `eval.features.load_features` does; arguments are those of `run_of`.

    Raises:
        UserError: There is no such run folder, or timm has no such model.
    """
    run = run_of(name, is_run=is_run)
    if run is not None:
        check_run(run)
        return
    if ":" in name:
        # timm would load it unchecked.
        raise UserError(
            f"--model {name}: unknown source {name.partition(':')[0]!r}; give a run folder, "
            "ORG/NAME or timm's name of a model"
        )
    if not may_be_timm_model(name):
        raise cannot_load(name, f"Unknown model ({name})")


def cannot_load(name: str, reason: str) -> UserError:
    """Return the error for a name of which timm has no pretrained weights."""
    return UserError(
        f"--model {name}: folder not found, and timm cannot load pretrained weights of that "
        f"name ({reason}); give a run folder of `train`, or check the name and the "
        "network"
    )
