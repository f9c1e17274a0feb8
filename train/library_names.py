"""Check names of optimisers, policies and trackers before timm and accelerate are imported.

That takes seconds. Their source is searched, so a name that it quotes anywhere counts;
`train.choices.check_libraries` checks again with the libraries.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.text import suggest
from train.settings import Hyperparameters

_COMMON = ("sgd", "adamw", "lamb", "lion", "nadamw", "rmsprop", "adafactor")
# They need bitsandbytes, apex and second derivatives.
_UNUSABLE = ("bnb", "fused", "adahessian")
_OPTIMIZERS = "timm", "optim/_optim_factory.py"
_POLICIES = "timm", "data/auto_augment.py"
_TRACKERS = "accelerate", "tracking.py"


def check_library_names(values: Hyperparameters, trackers: Sequence[Any]) -> None:
    """Reject names that timm and accelerate do not have; trackers may be objects of a caller.

    Raises:
        UserError: One is unknown.
    """
    if not _may_be(bare_optimizer(values.opt), *_OPTIMIZERS):
        raise unknown_optimizer(values.opt, optimizers_in_source())
    policy = values.augmentation.aa
    if policy is not None and not _may_be(policy.partition("-")[0], *_POLICIES):
        raise unknown_policy(policy)
    for one in trackers:
        if isinstance(one, str) and not _may_be(one, *_TRACKERS):
            raise unknown_tracker(one, trackers_in_source())


def bare_optimizer(name: str) -> str:
    """Return the name of an optimiser as timm lists it."""
    return name.lower().removeprefix("lookahead_")


def optimizers_in_source() -> list[str]:
    """Return the names of timm's optimisers."""
    return re.findall(r"\bname=['\"](\w+)['\"]", _source(*_OPTIMIZERS))


def trackers_in_source() -> list[str]:
    """Return the names of accelerate's trackers."""
    return re.findall(r"^    ['\"](\w+)['\"]: \w+Tracker,$", _source(*_TRACKERS), re.MULTILINE)


def unknown_optimizer(name: str, known: Sequence[str]) -> UserError:
    """Return the error about an optimiser; its advice is none that this loop cannot use."""
    usable = [one for one in known if not one.startswith(_UNUSABLE)]
    near = difflib.get_close_matches(bare_optimizer(name), usable, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"use e.g. {', '.join(_COMMON)}"
    return UserError(f"--opt {name}: timm has no such optimiser; {hint}")


def unknown_policy(name: str, reason: str = "") -> UserError:
    """Return the error about a policy of timm."""
    pattern = r"if name == ['\"](\w+)['\"]:\n +return auto_augment_policy_"
    known = ["rand", "augmix", *re.findall(pattern, _source(*_POLICIES))]
    first = name.partition("-")[0]
    near = [] if first in known else difflib.get_close_matches(first, known, n=1)
    usual = "use e.g. rand-m9-mstd0.5-inc1, original, v0, 3a or augmix-m5-w4"
    hint = f"did you mean {near[0]}? If not, {usual}" if near else usual
    return UserError(f"--aa {name}: timm has no such policy{reason and f' ({reason})'}; {hint}")


def unknown_tracker(name: str, known: Sequence[str]) -> UserError:
    """Return the error about a tracker of accelerate."""
    return UserError(f"--log-with {name}: unknown tracker; {suggest(name, known)}")


def _may_be(name: str, package: str, file: str) -> bool:
    """Return False if a library does not have a name, as far as is known without importing it."""
    text = "" if package in sys.modules else _source(package, file)
    return not text or re.search(rf"(['\"]){re.escape(name)}\1", text) is not None


@cache
def _source(package: str, file: str) -> str:
    """Return the source of a module; nothing if it is not where it is expected."""
    found = find_spec(package)
    path = Path(found.origin).parent / file if found and found.origin else None
    return path.read_text(encoding="utf-8", errors="replace") if path and path.is_file() else ""
