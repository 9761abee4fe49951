"""Byte streams that readers stand on: what was read already, what breaks off, what is not UTF-8."""

from __future__ import annotations

import codecs
import gzip
import io
import tarfile
import zipfile
import zlib
from typing import Any, Optional, cast

__all__ = ["BROKEN", "CUT", "Chained", "Gunzip", "Recoded", "broken_reason", "peekable"]

PEEK = 64 * 1024
BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError)
"""What the standard library raises over damaged, cut, encrypted or unreadable input."""

CUT = "cut off:"
"""Begins the problem of a stream that ends before its content does."""


def peekable(file: object) -> io.BufferedReader:
    """Return a buffered stream that closes what it stands on."""
    return io.BufferedReader(cast("io.RawIOBase", file), PEEK)


def broken_reason(exc: BaseException) -> str:
    """Return what a broken input means for the person who has it, without the library's words."""
    if isinstance(exc, EOFError) or "unexpected end" in str(exc):
        return f"{CUT} the data end too early, the rest cannot be read"
    if isinstance(exc, zipfile.BadZipFile) and "not a zip file" in str(exc):
        return f"{CUT} the list of its members, at its end, is missing"
    if isinstance(exc, (zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile)):
        return f"{CUT} damaged from here on, the rest cannot be read"
    if isinstance(exc, NotImplementedError):  # zipfile's word for a compression it does not know; a RuntimeError
        return "compressed in a way that cannot be read: unpack it first"
    if isinstance(exc, RuntimeError):
        return "encrypted: unpack it first"
    told = exc.strerror if isinstance(exc, OSError) else None
    return f"{CUT} {told or 'it cannot be read further'}"


class Chained(io.RawIOBase):
    """Bytes that were read already, and then the rest of their stream."""

    def __init__(self, data: bytes, rest: io.BufferedReader) -> None:
        self._data, self._rest = io.BytesIO(data), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


class Gunzip(io.RawIOBase):
    """What a gzip file holds up to where it breaks; bytes after its end that are no gzip are passed over.

    Attributes:
        failure: What broke, once the end was reached; None for a whole stream.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")
        self._any = False
        self.failure: Optional[BaseException] = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.failure is not None:
            return 0
        try:
            part = self._file.read1(len(buffer))
        except BROKEN as exc:
            if not (self._any and str(exc).startswith("Not a gzipped file")):  # `gzip -d` passes that over, too
                self.failure = exc
            return 0
        self._any = True
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._file.close()
        super().close()


class Recoded(io.RawIOBase):
    """Text of another encoding as UTF-8; what cannot be decoded becomes U+FFFD."""

    def __init__(self, rest: io.BufferedReader, encoding: str) -> None:
        self._rest, self._ready = rest, b""
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._rest.read1(PEEK)
            self._ready = self._decoder.decode(data, final=not data).encode("utf-8", "replace")
            if not data:
                break
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
