"""The HTTP client of the Hub's libraries: a time-out per request, and a quick failure offline.

A name that does not resolve means a machine without a network or a mistyped address. Libraries
would retry such a request for minutes, one library after the other.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

REQUEST_TIMEOUT_S = 120.0
_counters: list[Callable[[int], None]] = []
_bound = False
_answered = False


def bound_requests(timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Limit requests of huggingface_hub and libraries that use it; once per process.

    Each request has a time-out. A name that does not resolve, before any host has answered this
    process, raises `OfflineModeIsEnabled`, which libraries do not retry: they use their
    caches instead. Later it counts as a lost connection, which is retried.
    """
    global _bound
    if _bound:
        return
    from huggingface_hub import get_session, set_client_factory

    # A client like the library's own, with the HTTP library of its version.
    own = get_session()
    kind = _quick_to_fail(type(own))
    hooks = {**own.event_hooks, "request": [*own.event_hooks.get("request", ()), _count_request]}

    def bounded() -> Any:
        return kind(event_hooks=hooks, follow_redirects=True, timeout=timeout_s)

    set_client_factory(bounded)
    _bound = True


def _quick_to_fail(client: Any) -> Any:
    from huggingface_hub.errors import OfflineModeIsEnabled

    class Client(client):  # type: ignore[misc]  # its class is known at run time only
        def send(self, request: Any, **options: Any) -> Any:
            global _answered
            try:
                answer = super().send(request, **options)
            except Exception as error:
                if _answered or not is_unresolved(error):
                    raise
                raise OfflineModeIsEnabled(
                    f"the host name {request.url.host} does not resolve"
                ) from error
            _answered = True
            return answer

    return Client


def is_unresolved(error: BaseException | None) -> bool:
    """Return whether an error comes from a host name that does not resolve."""
    return any(isinstance(one, socket.gaierror) for one in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def counting_uploads(count: Callable[[int], None]) -> Iterator[None]:
    """Call `count` with the body size in bytes of each PUT, which uploads LFS contents."""
    bound_requests()
    _counters.append(count)
    try:
        yield
    finally:
        _counters.remove(count)


def _count_request(request: Any) -> None:
    if request.method == "PUT":
        size = int(request.headers.get("Content-Length") or 0)
        for count in _counters:
            count(size)
