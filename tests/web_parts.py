"""A headless Chromium for tests of pages, driven through chromedriver's own HTTP interface."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium here: Debian's packages chromium and chromium-driver are not installed"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_SECONDS = 120


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def open(self, page: Path) -> None:
        self.go(page.resolve().as_uri())

    def go(self, url: str) -> None:
        _ask(f"{self._base}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the value of a function body in JavaScript."""
        return _ask(f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def element(self, selector: str) -> str:
        found = _ask(f"{self._base}/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def click(self, selector: str) -> None:
        """Scroll to an element and click it as a user does."""
        _ask(f"{self._base}/element/{self.element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        element = self.element(selector)
        _ask(f"{self._base}/element/{element}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key; arrows by name, as `ArrowRight`, other keys as WebDriver's characters."""
        value = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014"}.get(key, key)
        steps = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
        _ask(f"{self._base}/actions", {"actions": [{"type": "key", "id": "k", "actions": steps}]})

    def resize(self, width: int, height: int) -> None:
        _ask(f"{self._base}/window/rect", {"width": width, "height": height})

    def messages(self) -> list[str]:
        """Return errors and warnings of the console since the last call."""
        logged = _ask(f"{self._base}/se/log", {"type": "browser"})
        return [f"{one['level']}: {one['message']}" for one in logged]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with a profile in `folder`, without network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    driver = subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    session = None
    try:
        session = _start(address, folder)
        yield Browser(address, session)
    finally:
        if session:
            with suppress(OSError):
                _ask(f"{address}/session/{session}", method="DELETE")
        driver.terminate()
        driver.wait()


def _start(address: str, folder: Path) -> str:
    flags = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--window-size=1280,1000", f"--user-data-dir={folder}"),
        # Smooth scrolling would move elements away from under a click.
        "--force-prefers-reduced-motion",
        # Any request to another machine fails at once, and is logged.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": {"args": flags, "binary": CHROMIUM},
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    end = time.monotonic() + _SECONDS
    while True:
        try:
            found = _ask(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
            return str(found["sessionId"])
        except urllib.error.URLError as error:
            refused = isinstance(error.reason, ConnectionRefusedError)
            if not refused or time.monotonic() > end:
                raise
            time.sleep(0.1)


def _ask(url: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.loads(answer.read())["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()[:2000]) from None
