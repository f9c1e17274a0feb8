"""The versions of this package and of the libraries that affect images."""

from functools import cache

VERSION = "0.1.0"
OURS = "data-factory"
_LIBRARIES = ("torch", "diffusers", "transformers", "datasets", "accelerate", "pillow")


def library_versions(*further: str) -> dict[str, str]:
    """Return the versions of packages that affect images, ours first, `further` ones last."""
    # Not at the top: every command needs the version, and few those of the libraries.
    import platform

    found = {OURS: VERSION, "python": platform.python_version()}
    return found | {name: _version(name) for name in (*_LIBRARIES, *further)}


@cache
def _version(package: str) -> str:
    # Reads the whole description of the package; a process may start many builds.
    # Takes as long to import as numpy; most commands do not ask for versions.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        # A checkout that was never installed.
        return "unknown"
