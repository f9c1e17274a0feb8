"""Create the scheduler of a recipe; see also `factory.models.scheduler_families`."""

import difflib
import inspect
from typing import Any

from factory.common.errors import UserError, first_line
from factory.models.scheduler_families import scheduler_names


def make_scheduler(current: Any, name: str | None, changes: dict[str, Any] | None) -> Any:
    """Create a scheduler from the model's own configuration.

    Args:
        current: The model's own scheduler.
        name: A class of diffusers; None keeps the model's own.
        changes: Settings that override the model's configuration.

    Raises:
        UserError: The scheduler or setting does not exist, or a value is invalid.
    """
    scheduler_class = _scheduler_class(name) if name else type(current)
    changes = dict(changes or {})
    _require_known_settings(scheduler_class, changes)
    try:
        return scheduler_class.from_config(current.config, **changes)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise UserError(f"scheduler {scheduler_class.__name__}: {first_line(error)}") from None


def _scheduler_class(name: str) -> Any:
    import diffusers

    found = getattr(diffusers, name, None)
    if isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin):
        return found
    near = difflib.get_close_matches(name, sorted(scheduler_names()), n=4, cutoff=0.4)
    hint = f"; similar: {', '.join(near)}" if near else ""
    raise UserError(f"model.scheduler: diffusers has no `{name}`{hint}")


def _require_known_settings(scheduler_class: Any, changes: dict[str, Any]) -> None:
    known = [
        name for name in inspect.signature(scheduler_class.__init__).parameters if name != "self"
    ]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known
            raise UserError(
                f"model.scheduler_config.{name}: {scheduler_class.__name__} has no such setting; "
                f"similar: {', '.join(near)}"
            )
