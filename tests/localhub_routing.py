"""Map each request of localhub to its handler."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from localhub_http import Response

Handler = Callable[..., Response]


class Route(NamedTuple):
    name: str
    method: str
    pattern: re.Pattern[str]
    access: str | None
    handler: Handler


ROUTES: list[Route] = []
KIND, REPO, REV = r"(?P<kind>models|datasets|spaces)", r"(?P<name>[^/]+/[^/]+?)", r"(?P<rev>[^/]+)"
API = f"/api/{KIND}/{REPO}"
WEB = f"(?:/(?P<kind>datasets|spaces))?/{REPO}"
LFS = rf"{WEB}\.git/info/lfs/objects"
XORB = "(?P<xorb>[0-9a-f]{64})"


def route(
    name: str, methods: str, pattern: str, access: str | None = None
) -> Callable[[Handler], Handler]:
    """Register a handler. With `access` ("info", "read" or "write") it gets the checked `repo`."""

    def register(handler: Handler) -> Handler:
        for method in methods.split():
            ROUTES.append(Route(name, method, re.compile(pattern + "$"), access, handler))
        return handler

    return register


NOT_FOUND = Route(
    "unknown", "", re.compile(""), None, lambda *_: Response.json({"error": "Not Found"}, 404)
)
