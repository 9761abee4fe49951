"""A search command's process, spoken to in lock step: one frame there, one frame back, or it is a failure."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from splunkd.frames import BadFrame, frame, parse_frame

__all__ = ["Command", "CommandFailed"]

_PIECE = 1 << 20


class CommandFailed(Exception):
    """The process broke the protocol, ended or was silent too long; the text is for the reader of a failed test."""


class Command:
    """A running command.

    Args:
        argv: Interpreter, script and what splunkd adds.
        env: The whole environment.
        cwd: Where it starts.
        maxwait_s: A frame that takes longer is a failure.

    Attributes:
        seconds: How long each answer took.
        received: Everything that came on standard output, for tests that look for secrets; up to `keep` bytes.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, maxwait_s: float = 60.0, keep: int = 1 << 24
    ) -> None:
        self.maxwait_s, self.keep = maxwait_s, keep
        self.seconds: list[float] = []
        self.received = bytearray()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._pending = bytearray()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._log.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, metadata: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send one frame and return the one that answers it.

        Raises:
            CommandFailed: No answer within `maxwait_s`, more than one, no frame at all, or the end of the process.
        """
        began = time.monotonic()
        answer = self._exchange(frame(metadata, body), began + self.maxwait_s)
        self.seconds.append(time.monotonic() - began)
        return answer

    def finish(self, within_s: float = 20.0) -> int:
        """Close its standard input, expect nothing more, and return its exit code.

        Raises:
            CommandFailed: It wrote after the last answer, or did not end.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        deadline = time.monotonic() + within_s
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        try:
            code = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as exc:
            raise CommandFailed(f"it did not end {within_s:.0f} s after its input had. {self._said()}") from exc
        if self._pending:
            raise CommandFailed(f"it wrote after its last answer: {bytes(self._pending[:200])!r}")
        return code

    def log(self) -> str:
        """Return what it wrote to standard error, which splunkd puts into search.log."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def peak_kib(self) -> int:
        """Return its peak memory so far in KiB, as the kernel has it; only while it runs."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def _exchange(self, data: bytes, deadline: float) -> tuple[dict[str, Any], bytes]:
        if self._pending or self._read(0):
            raise CommandFailed(f"it wrote without being asked: {bytes(self._pending[:200])!r}")
        view, at = memoryview(data), 0
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandFailed(f"no answer within {self.maxwait_s:.0f} s. {self._said()}")
            writing = [self._in] if at < len(view) else []
            readable, writable, _ = select.select([self._out], writing, [], left)
            if writable:
                try:
                    at += os.write(self._in, view[at : at + _PIECE])
                except BrokenPipeError:
                    at = len(view)  # it has stopped reading; what it says about it comes on standard output
            if readable:
                if not self._read(0):
                    raise CommandFailed(f"it ended without an answer. {self._said()}")
                answer = self._whole()
                if answer is not None:
                    return answer

    def _whole(self) -> Optional[tuple[dict[str, Any], bytes]]:
        try:
            found = parse_frame(self._pending)
        except BadFrame as exc:
            raise CommandFailed(f"{exc}. {self._said()}") from exc
        if found is None:
            return None
        metadata, body, end = found
        if len(self._pending) > end:
            raise CommandFailed(f"more than one frame for one: {bytes(self._pending[end : end + 200])!r}")
        self._pending.clear()
        return metadata, body

    def _read(self, wait_s: float) -> bool:
        """Take in what can be read; False at the end of the stream, or where nothing came in time."""
        ready, _, _ = select.select([self._out], [], [], wait_s)
        if not ready:
            return False
        piece = os.read(self._out, _PIECE)
        self._pending += piece
        if len(self.received) < self.keep:
            self.received += piece
        return bool(piece)

    def _said(self) -> str:
        try:
            code: Optional[int] = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            code = None
        return f"Exit code: {code}; standard error: {self.log()[-2000:] or 'empty'}"
