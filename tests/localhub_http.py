"""Requests and responses of localhub, the loopback Hub of the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message


class HttpError(Exception):
    """An error answer; `code` goes to X-Error-Code, which the clients map to exception classes."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


@dataclass
class Request:
    method: str
    path: str  # still percent-encoded: an encoded "/" inside a revision must not split it
    query: dict[str, list[str]]
    headers: Message
    body: bytes
    bearer: str | None

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(
        cls, data: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        return cls(
            status,
            {"Content-Type": "application/json", **(headers or {})},
            json.dumps(data).encode(),
        )


def ranged(
    req: Request, size: int, read: Callable[[int, int], bytes], headers: dict[str, str]
) -> Response:
    """Answer a GET of `size` bytes, whole or the single byte range that was asked for."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", req.headers.get("Range", "").replace(" ", ""))
    if not match or not any(match.groups()):
        return Response(200, headers, read(0, size))
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise HttpError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return Response(
        206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}, read(start, end)
    )
