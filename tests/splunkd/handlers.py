"""Persistent handlers in processes of their own, started on the first request and after a death; their faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

__all__ = ["Fault", "Faults", "HandlerDied", "Persistent"]

_RUNNER = Path(__file__).resolve().parent / "persist" / "appserver.py"


class HandlerDied(Exception):
    """The process ended without an answer."""


@dataclass(frozen=True)
class Fault:
    """What happens to a request of the handler instead of, or around, its answer.

    Attributes:
        kind: `slow` waits `seconds` first; `status` answers `status` with splunkd's messages; `cut` ends the connection
            after half of the real answer; `html` answers a login page with 200; `refused` ends the connection without a
            byte; `restart` kills the process while it works; `garbage` answers 200 with something that is no answer.
        after: So many requests are answered well before it begins.
        times: How many requests it hits; None for all that follow.
    """

    kind: str
    status: int = 500
    seconds: float = 0.0
    after: int = 0
    times: Optional[int] = None


class Faults:
    """The fault that is switched on, for requests whose path ends in `route`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault: Optional[Fault] = None
        self._route = ""
        self._seen = 0

    def set(self, fault: Fault, route: str = "/cbsigned/rows") -> None:
        """Switch a fault on."""
        with self._lock:
            self._fault, self._route, self._seen = fault, route, 0

    def clear(self) -> None:
        """Switch it off."""
        with self._lock:
            self._fault = None

    def next(self, path: str) -> Optional[Fault]:
        """Return the fault that hits this request."""
        with self._lock:
            fault = self._fault
            if fault is None or not path.endswith(self._route):
                return None
            self._seen += 1
            number = self._seen - fault.after
            return fault if number > 0 and (fault.times is None or number <= fault.times) else None


class Persistent:
    """One handler's process; requests are given to it one after the other.

    Args:
        python: The interpreter.
        script: Its file under `bin/`.
        handler: `module.Class`.
        env: The whole environment.
        log: Where its standard error goes.

    Attributes:
        starts: How often it was started.
    """

    def __init__(self, python: str, script: Path, handler: str, env: Mapping[str, str], log: Path) -> None:
        self._argv = [python, str(_RUNNER), str(script), handler]
        own = os.pathsep.join([str(_RUNNER.parent), *filter(None, [env.get("PYTHONPATH")])])
        self._env = {**env, "PYTHONPATH": own}
        self._log = log
        self._lock = threading.Lock()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.starts = 0

    @property
    def pid(self) -> Optional[int]:
        """Its process id, None before the first request."""
        return self._process.pid if self._process is not None else None

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the handler's answer: `status`, `payload`, `headers`.

        Raises:
            HandlerDied: The process ended before it had answered.
        """
        data = json.dumps(request).encode()
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(b"%d\n%s" % (len(data), data))
                process.stdin.flush()
                line = process.stdout.readline()
                answer = process.stdout.read(int(line)) if line else b""
            except (BrokenPipeError, ValueError):
                answer = b""
            if not answer:
                raise HandlerDied(f"exit code {process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def kill(self) -> None:
        """Kill the process, whatever it is doing; the next request starts another."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process as splunkd does at its own end: by the end of its input."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            sys.exc_info()  # it was dead already
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._argv, env=self._env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
                )
            self.starts += 1
        return self._process
