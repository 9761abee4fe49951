"""A headless Chromium for tests: its debugging pipe, and as much of its protocol as a form needs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LAUNCH = (
    "import fcntl, os, sys\n"
    "r, w = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:3])\n"
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])\n"
)
_KEYS = {"Tab": 9, "Enter": 13}


class Page:
    """One page of the browser.

    Args:
        pipe: From `browser`.
        session: Of the page's own protocol session.
    """

    def __init__(self, pipe: Pipe, session: str) -> None:
        self._pipe, self._session = pipe, session

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Return the result of one command of the protocol."""
        return self._pipe.ask(method, parameters, self._session)

    def run(self, script: str) -> Any:
        """Return what an expression is in the page; a promise is waited for."""
        told = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page, for 20 s at most; no polling by the clock."""
        assert self.run(
            "new Promise((resolve) => {"
            f"  const holds = () => Boolean({condition});"
            "  if (holds()) { resolve(true); return; }"
            "  const watcher = new MutationObserver(() => { if (holds()) { watcher.disconnect(); resolve(true); } });"
            "  watcher.observe(document, {childList: true, subtree: true, attributes: true, characterData: true});"
            "  setTimeout(() => resolve(holds()), 20000);"
            "})"
        ), f"{condition}: {self.run('document.body.innerText')}"

    def open(self, url: str) -> None:
        """Go to an address; the page may still be loading afterwards."""
        self("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release Tab or Enter."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        self("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": "\r"} if key == "Enter" else {}))
        self("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, path: Path) -> None:
        """Write what the page looks like as PNG."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


class Pipe:
    """Commands to the browser and their answers, JSON parted by NUL."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._number, self._rest = to, back, 0, b""

    def ask(self, method: str, parameters: dict[str, Any], session: str = "") -> Any:
        """Return the result of one command."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps({**command, **({"sessionId": session} if session else {})}).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + 60
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._back, 1 << 20) if ready else b""
            assert part, "Chromium has ended, or says nothing"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Pipe]:
    """Run a headless Chromium; skip without one, but fail in CI.

    Args:
        folder: Its profile and its messages go there.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        message = "no chromium on this machine: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"]
    flags += ["--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "--window-size=1100,1300"]
    command = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), program, *flags]
    with (folder / "chromium.log").open("wb") as log:
        running = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        os.close(theirs_in)
        os.close(theirs_out)
        pipe = Pipe(to, back)
        try:
            yield pipe
            with contextlib.suppress(AssertionError, OSError):
                pipe.ask("Browser.close", {})
            running.wait(20)
        finally:
            running.kill()
            running.wait()
            os.close(to)
            os.close(back)


def new_page(pipe: Pipe) -> Page:
    """Return an empty page with cookies and storage of its own."""
    context = pipe.ask("Target.createBrowserContext", {})["browserContextId"]
    target = pipe.ask("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
    page = Page(pipe, pipe.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
    page("Page.enable")
    return page
