"""Serve the page on this machine only.

The address contains a random token, the server listens on the loopback interface, and requests that
name another host are refused, so other users and web pages cannot read the dataset. Images are
addressed by row number: no path ever comes from a request.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from eval import report_page
from eval.viewer.answers import Viewer
from factory.common.errors import UserError
from factory.common.redaction import for_json
from factory.common.untrusted_files import parse_json

HOSTS = ("127.0.0.1", "localhost")
_FOLDER = Path(__file__).with_name("page")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_REPORT = Path(report_page.__file__).with_name("templates")
_SHARED = [_REPORT / name for name in ("colours.css", "theme.js")]
# Listed once: a request can only choose among these names.
_FILES = {path.name: path for path in (*sorted(_FOLDER.iterdir()), *_SHARED)}
_MOST_BODY, _MOST_QUERY = 100_000, 10_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Answers requests for one viewer."""

    daemon_threads = True

    def __init__(self, viewer: Viewer, *, port: int) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one.

        Raises:
            UserError: The port is in use, or may not be used.
        """
        self.viewer, self.token = viewer, secrets.token_urlsafe(18)
        try:
            super().__init__((HOSTS[0], port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "not a port"
            raise UserError(f"--port {port}: {reason}; give another, or 0 for a free one") from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print tracebacks of bugs, not of connections that the browser closed."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOSTS[0]}:{self.server_port}/{self.token}/"


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Answer requests in a thread; yield the address of the page."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "data-factory", ""
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: addresses contain the token."""

    def _answer(self, make: Callable[[str], tuple[str, bytes]]) -> None:
        try:
            kind, body = make(self._asked())
            self._send(HTTPStatus.OK, kind, body)
        except _Refused as refused:
            # The body of a refused request was not read.
            self.close_connection = True
            self._send(refused.status, "text/plain", refused.status.phrase.encode())
        except UserError as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, *_json({"error": str(error)}))

    def _asked(self) -> str:
        """Return the rest of the address after the token, if the request may be answered."""
        if _host(self.headers.get("Host", "")) not in HOSTS:
            # A web page whose name was made to point to this machine (DNS rebinding).
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST)
        token, slash, rest = self.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND)
        if len(rest) > _MOST_QUERY:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG)
        return rest

    def _get(self, rest: str) -> tuple[str, bytes]:
        name, _, query = rest.partition("?")
        asked = dict(parse_qsl(query, keep_blank_values=True))
        file = _FILES.get(name or "view.html")
        if file is not None:
            return _KINDS[file.suffix], file.read_bytes()
        if name == "image":
            row = self.server.viewer.row(asked.get("row", ""))
            side = asked.get("side", "0")
            return self.server.viewer.images.encoded(row, int(side) if side.isdecimal() else -1)
        documents = self.server.viewer.documents()
        if name not in documents:
            raise _Refused(HTTPStatus.NOT_FOUND)
        try:
            return _json(documents[name](asked))
        except UserError as error:
            # Half-typed filters are usual; browsers log every other status as an error.
            return _json({"error": str(error)})

    def _post(self, rest: str) -> tuple[str, bytes]:
        origin = self.headers.get("Origin")
        is_own = origin is None or urlsplit(origin).netloc == self.headers["Host"]
        is_json = self.headers.get("Content-Type", "") == "application/json"
        length = self.headers.get("Content-Length", "")
        if rest.rstrip("?") != "mark" or not (is_own and is_json):
            raise _Refused(HTTPStatus.FORBIDDEN)
        if not length.isdecimal() or int(length) > _MOST_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        data = self.rfile.read(int(length))
        try:
            asked = parse_json(data.decode(), file="request")
        except UnicodeDecodeError:
            raise UserError("the request is not UTF-8 text") from None
        if not isinstance(asked, dict):
            raise UserError("the request is not a mapping")
        return _json(self.server.viewer.mark(asked))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        is_image = kind.startswith("image/")
        # The token is new in every run, so kept images are those of this dataset.
        self.send_header("Cache-Control", "private, max-age=86400" if is_image else "no-store")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _host(header: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _json(document: object) -> tuple[str, bytes]:
    return "application/json", for_json(document).encode()
