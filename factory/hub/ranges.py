"""Read a part of a file of a Hub commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus

from factory.hub.session import HubSession


def read_range(session: HubSession, commit: str, path: str, start: int, stop: int) -> bytes:
    """Return the bytes of a file from `start` to the one before `stop`.

    The Hub has a hash of the whole file only, so what arrives is checked by its length alone.

    Raises:
        UserError: The Hub rejected the request.
        Failure: All retries failed.
    """
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    target = session.target
    url = hf_hub_url(target.repo_id, path, repo_type=target.repo_type, revision=commit)

    def get() -> bytes:
        session.bound()
        headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"}
        content = b""
        with get_session().stream("GET", url, headers=headers) as answer:
            hf_raise_for_status(answer)
            # A server that ignores the range would send the whole file.
            if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
                content = b"".join(_first(answer.iter_bytes(), stop - start + 1))
        if len(content) != stop - start:
            raise ValueError("the answer is not the requested part of the file")
        return content

    return session.call(get, doing=f"reading a part of {path}")


def _first(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield blocks until they have at least `size` bytes."""
    for block in blocks:
        yield block
        size -= len(block)
        if size <= 0:
            return
