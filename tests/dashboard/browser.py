"""A real browser without a library: chromium driven by chromedriver, which speaks the WebDriver protocol over HTTP."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

Found = TypeVar("Found")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"tab": "\ue004", "enter": "\ue007", "escape": "\ue00c", "space": " "}


class NotFound(AssertionError):
    """Nothing on the page is what the test asked for."""


class DriverError(Exception):
    """The driver refused a command; ``kind`` is its word for why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class Browser:
    """One browser window, ended with :meth:`close`. Elements are named by CSS, or by role text with :meth:`button`."""

    def __init__(self, folder: Path) -> None:
        assert DRIVER, MISSING
        assert CHROMIUM, MISSING
        port = free_port()
        self._base = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}
        self._log = (folder / "chromedriver.log").open("ab")
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env=environment, start_new_session=True,
        )  # fmt: skip
        self._session = ""
        try:
            self._wait(self._is_up, "chromedriver to listen")
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder / 'browser'}"]}
            wish = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wish}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    # -- the protocol -------------------------------------------------------------------------------------------------

    def _is_up(self) -> bool:
        assert self._driver.poll() is None, "chromedriver ended"
        try:
            return bool(self._send("GET", "/status")["ready"])
        except (urllib.error.URLError, ConnectionError):
            return False

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as refused:
            with refused:
                said = json.load(refused)["value"]
            raise DriverError(said["error"], said["message"].splitlines()[0]) from None

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._send(method, self._session + path, body)

    def close(self) -> None:
        """End the window, the browser and the driver."""
        if self._session:
            with suppress(DriverError, urllib.error.URLError, ConnectionError, TimeoutError):
                self._send("DELETE", self._session)
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._driver.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait(10)
        self._log.close()

    # -- looking ------------------------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask("POST", "/url", {"url": url})

    def resize(self, width: int, height: int) -> None:
        """Give the page a size in pixels, as a device of that size would; a window cannot be as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def devtools(self, command: str, values: dict[str, Any] | None = None) -> Any:
        """Give the browser a command of its developer protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": values or {}})

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript in the page; ``return`` gives the answer."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(values)})

    def text(self, css: str) -> str:
        """Return the visible text of the first element that fits, or nothing."""
        return str(self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", css))

    def count(self, css: str) -> int:
        """Return how many elements fit."""
        return int(self.run("return document.querySelectorAll(arguments[0]).length", css))

    def errors(self) -> list[str]:
        """Return what the page wrote to its console as errors since the last time."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save a picture of what is seen, or of the whole page."""
        wish = {"format": "png", "captureBeyondViewport": whole}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", wish)["data"]))

    # -- doing --------------------------------------------------------------------------------------------------------

    def element(self, css: str, text: str = "") -> dict[str, str]:
        """Return the first visible element that fits and whose name or text begins with a text.

        Raises:
            NotFound: there is none.
        """
        found = self.run(
            """const name = (e) => (e.getAttribute('aria-label') || e.innerText || '').trim();
            const fits = (e) => e.checkVisibility() && name(e).startsWith(arguments[1]);
            return [...document.querySelectorAll(arguments[0])].find(fits) || null""",
            css, text,
        )  # fmt: skip
        if found is None:
            raise NotFound(f"no {css} with {text!r} on the page:\n{self.text('body')}")
        return dict(found)

    def click(self, css: str, text: str = "") -> None:
        """Click on an element as a person would: it has to be in sight and nothing may cover it."""
        chosen = self.element(css, text)
        self._ask("POST", f"/element/{chosen[_ELEMENT]}/click")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: ``tab``, ``enter``, ``escape``, or a letter."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def focused(self) -> str:
        """Return the name of the element that has the focus, as a screen reader would say it."""
        return str(
            self.run(
                """const e = document.activeElement;
                return e ? (e.getAttribute('aria-label') || e.innerText || e.tagName).trim() : ''"""
            )
        )

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait_for(self, look: Callable[[], Found | None], what: str, seconds: float = WAIT_SECONDS) -> Found:
        """Look until there is something to see, and return it.

        Raises:
            AssertionError: it did not come; the text has what the page shows.
        """
        return self._wait(look, what, seconds, lambda: self.text("body"))

    def wait_text(self, css: str, text: str) -> str:
        """Wait until an element shows a text, and return all of its text."""

        def look() -> str | None:
            shown = self.text(css)
            return shown if text in shown else None

        return self.wait_for(look, f"{css} to show {text!r}")

    @staticmethod
    def _wait(
        look: Callable[[], Found | None], what: str, seconds: float = WAIT_SECONDS, tell: Callable[[], str] = str
    ) -> Found:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(NotFound):
                found = look()
                if found:
                    return found
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}; there is:\n{tell()}"
            time.sleep(POLL_SECONDS)
