"""Report whether this machine can build: libraries, device, memory, disks, Hub login, caches."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from factory.common.errors import FactoryError, first_line
from factory.common.resources import cores, free_memory, memory_limit
from factory.common.version import VERSION

DISTRIBUTION = "data-factory"
_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "timm",
    "numpy",
    "pillow",
    "pyarrow",
    "safetensors",
)
_HUB_TIMEOUT_S = 4.0
# Extras for those who work on the project itself.
_NOT_OFFERED = {"dev", "docs"}
_EXTRA = re.compile(r"^([\w.-]+).*\bextra == ['\"]([\w-]+)['\"]")
# A build of a few images, its manifest and card.
_LEAST_FREE = 100 << 20


def examine() -> dict[str, Any]:
    """Return all facts; `problems` names what prevents a build, each with a remedy.

    Sizes are in bytes. The token itself is not part of it.
    """
    libraries = {name: _version(name) for name in _LIBRARIES}
    missing = [name for name, found in libraries.items() if found is None]
    problems = [f"{name} is not installed; run: pip install {name}" for name in missing]
    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "version": VERSION,
        "libraries": libraries,
        "extras": missing_extras(),
        "device": {} if missing else _device(problems),
        "memory": _memory(),
        "disks": _disks(problems),
        "caches": _caches(),
        "hub": {} if "huggingface_hub" in missing else hub_login(),
    }
    return found | {"problems": problems}


def missing_extras() -> dict[str, list[str]] | None:
    """Return the packages of each optional extra that are not installed, by extra.

    None if the package is not installed: then nothing says which extras it has.
    """
    requirements = _requirements()
    if requirements is None:
        return None
    found: dict[str, list[str]] = {}
    for line in requirements:
        match = _EXTRA.search(line)
        if match and match[2] not in _NOT_OFFERED and _version(match[1]) is None:
            found.setdefault(match[2], []).append(match[1])
    return found


def hub_login() -> dict[str, Any]:
    """Return whether there is a token, and its account and rights if the Hub answers soon.

    `write` is None if the Hub does not say.
    """
    from factory.hub.client import bound_requests
    from factory.hub.errors import client_errors, status_of
    from factory.hub.ids import token_source

    source = token_source()
    login: dict[str, Any] = {"token": source, "user": None, "write": None, "note": None}
    if source is None:
        return login | {"note": "no token; run `hf auth login` to publish or to use gated models"}
    from huggingface_hub import HfApi

    bound_requests(_HUB_TIMEOUT_S)
    try:
        account = HfApi().whoami()
    except client_errors() as error:
        refused = status_of(error) in (401, 403)
        return login | {
            "note": f"the Hub refuses the token from {source}" if refused else "Hub not reachable"
        }
    token = (account.get("auth") or {}).get("accessToken") or {}
    return login | {"user": account.get("name"), "write": _may_write(token)}


def _may_write(token: dict[str, Any]) -> bool | None:
    role = token.get("role")
    if role in ("read", "write", "admin"):
        return bool(role != "read")
    scopes = (token.get("fineGrained") or {}).get("scoped")
    if scopes is None:
        return None
    return any("repo.write" in (scope.get("permissions") or ()) for scope in scopes)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _requirements() -> list[str] | None:
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return None


def _device(problems: list[str]) -> dict[str, Any]:
    from factory.common.devices import device_name, find_device
    from factory.shards.settings import BuildSettings, fix

    try:
        device = find_device()
        fixed = fix(BuildSettings(), recorded=None, device=device.type, out="")
        name = device_name(device.type)
    except (FactoryError, RuntimeError) as error:
        problems.append(f"no device can be used ({first_line(error)}); check the driver and torch")
        return {"cores": cores()}
    return {
        "type": device.type,
        "name": name,
        "count": _count(device.type),
        "cores": cores(),
        "dtype": fixed.dtype,
    }


def _count(device_type: str) -> int:
    import torch

    return 1 if device_type == "cpu" else int(torch.accelerator.device_count())


def _memory() -> dict[str, int]:
    """Return the total and available memory, of the container if it has a limit, and the GPU's."""
    found = {"total": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    available = free_memory()
    if available is not None:
        found["available"] = available
    limit = memory_limit()
    if limit is not None:
        found["total"] = min(found["total"], limit)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["device_free"], found["device_total"] = torch.cuda.mem_get_info()
    return found


def _disks(problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the free space where models are downloaded and where builds write."""
    found: dict[str, dict[str, Any]] = {}
    here = Path.cwd()
    places = {"current directory": here}
    if "Hub" in (caches := cache_folders()):
        places["Hub cache"] = caches["Hub"]
    for purpose, path in places.items():
        existing = next(one for one in (path, *path.parents) if one.exists())
        free = shutil.disk_usage(existing).free
        found[purpose] = {"path": str(path), "free": free}
    if found["current directory"]["free"] < _LEAST_FREE:
        problems.append(f"{here}: the disk is full; free space, or build elsewhere")
    if not os.access(here, os.W_OK):
        problems.append(f"{here}: cannot be written to; build in another directory")
    return found


def cache_folders() -> dict[str, Path]:
    """Return where the libraries keep downloads, whether or not anything is there.

    The Hub's and datasets' are left out if huggingface_hub is not installed.
    """
    found: dict[str, Path] = {}
    if _version("huggingface_hub"):
        from huggingface_hub import constants

        own = os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets")
        found = {"Hub": Path(constants.HF_HUB_CACHE), "datasets": Path(own)}
    # The rule of `torch.hub`, which importing torch would take seconds to ask.
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return found | {"torch": Path(os.environ.get("TORCH_HOME", home)).expanduser()}


def _caches() -> dict[str, dict[str, Any]]:
    """Return path and size of each cache that exists."""
    return {
        name: {"path": str(path), "size": sum(_sizes(path))}
        for name, path in cache_folders().items()
        if path.is_dir()
    }


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the sizes of all files of a folder; links, as in snapshots, are not followed."""
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(root) / name).lstat().st_size
            except OSError:
                continue
