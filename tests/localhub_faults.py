"""Faults that localhub can inject."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from localhub_routing import ROUTES

FAULT_KINDS = ("status", "close", "reset", "reset_after", "truncate", "flip", "delay")


@dataclass
class Fault:
    """What to do to the next requests that match a route, or a regex searched in "METHOD /path".

    Kinds: "status" (answer `status`, with `headers` and Retry-After, without handling), "close"
    and "reset" (end the connection before handling, orderly or with a TCP reset), "reset_after"
    (handle, then reset: the answer is lost), "truncate" (send half of the body, then close), "flip"
    (change one byte of the `side` "request" or "response" body), "delay" (wait `seconds`, then
    handle). The fault skips the first `skip` matches, then hits `times` of them (None: all), each
    with `probability`.
    """

    match: str
    kind: str
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    status: int = 503
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Injected fault"
    side: str = "response"
    seconds: float = 1.0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS or self.side not in ("request", "response"):
            raise ValueError(f"Unknown fault kind or side: {self.kind!r}, {self.side!r}")
        re.compile(self.match)

    def matches(self, name: str, line: str) -> bool:
        if any(route.name == self.match for route in ROUTES):
            return self.match == name
        return re.search(self.match, line) is not None

    def takes(self, name: str, line: str) -> bool:
        if not self.matches(name, line) or (self.times is not None and self.hits >= self.times):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if random.random() >= self.probability:
            return False
        self.hits += 1
        return True


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :] if body else body
