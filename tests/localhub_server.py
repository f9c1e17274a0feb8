"""HTTP server of localhub: handles one request at a time and injects the ordered faults."""

from __future__ import annotations

import http.server
import secrets
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from localhub_faults import Fault, flipped
from localhub_http import Request, Response

if TYPE_CHECKING:
    from localhub import Hub


class RequestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub
    listener: str

    def log_message(self, *args: object) -> None:
        """Write requests to the log of the hub instead of stderr."""

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def drop_connection(self) -> None:
        """Close with a TCP reset, so that the client cannot mistake it for a regular end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def dispatch(self) -> None:
        url = urlsplit(self.path)
        found, args = self.hub.find_route(self.command, url.path)
        line = f"{self.command} {url.path}"
        with self.hub.lock:
            fault = next(
                (fault for fault in self.hub.faults if fault.takes(found.name, line)), None
            )
        kind = fault.kind if fault else None
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        bearer = token if scheme.lower() == "bearer" else None
        entry = {
            "time": round(time.time(), 3),
            "listener": self.listener,
            "method": self.command,
            "path": self.path,
            "route": found.name,
            "status": 0,
            "bytes_in": 0,
            "bytes_out": 0,
            "token": bearer is not None,
            "range": self.headers.get("Range"),
            "fault": kind,
        }
        self.hub.requests.append(entry)
        if kind == "reset":
            self.drop_connection()
            return
        body = self.read_body()
        entry["bytes_in"] = len(body)
        if kind == "close":
            self.close_connection = True
            return
        if kind == "delay":
            self.hub.wake.wait(fault.seconds)
        if kind == "flip" and fault.side == "request":
            body = flipped(body)
        if kind == "status":
            retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            response = Response.json(
                {"error": fault.message}, fault.status, {**retry, **fault.headers}
            )
        else:
            query = parse_qs(url.query, keep_blank_values=True)
            request = Request(self.command, url.path, query, self.headers, body, bearer)
            response = self.hub.respond(found, request, args)
        entry["status"] = response.status
        if kind == "reset_after":
            self.drop_connection()
        else:
            self.send(response, entry, fault)

    def send(self, response: Response, entry: dict, fault: Fault | None) -> None:
        body = response.body
        if fault and fault.kind == "flip" and fault.side == "response":
            body = flipped(body)
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value.encode("ascii", "replace").decode().replace("\n", " "))
        self.send_header("X-Request-Id", secrets.token_hex(8))
        if fault and fault.kind == "truncate":
            body, self.close_connection = body[: len(body) // 2], True
        self.end_headers()
        if self.command != "HEAD":
            entry["bytes_out"] = len(body)
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = dispatch


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
