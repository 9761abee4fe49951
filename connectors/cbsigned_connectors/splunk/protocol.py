"""The loop of a search command: frames of splunkd in, one reply frame for each, and nothing else on standard output.

A frame is `chunked 1.0,<M>,<B>`, a line feed, M bytes of JSON and B bytes of CSV. splunkd starts a process for every
search, and more of them for getinfo alone, so this module imports `os` and `sys`, and of `json` only the part that is
written in C: that halves what a start costs beside a bare interpreter.

References:
    - splunk §2 (frames, turn-taking, errors the user sees), §3 (start-up)
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO, NoReturn, Optional, Protocol

    class Command(Protocol):
        """What the loop runs."""

        def getinfo(self, metadata: dict[str, Any]) -> dict[str, Any]:
            """Return the answer to getinfo."""

        def execute(self, metadata: dict[str, Any], body: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
            """Return the metadata of the reply, and its body in pieces."""


__all__ = ["ProtocolError", "dumps", "loads", "main", "read_frame", "serve", "write_frame"]

_MAX_LINE = 200
_MAX_METADATA = 64 * 1024 * 1024
_PIECE = 1024 * 1024


class ProtocolError(Exception):
    """splunkd sent what this protocol does not have; the text says what."""


def main(command: Command) -> NoReturn:
    """Serve splunkd on standard input and output until it closes them, then exit.

    Whatever else is written to standard output, by a stray `print` for example, goes to standard error: a byte
    between two frames would end the search.
    """
    sink = os.fdopen(os.dup(1), "wb", 0)
    try:
        os.dup2(2, 1)
    except OSError:  # no standard error: nobody reads what is printed
        sys.stdout = None
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(sink.fileno(), os.O_BINARY)
    sys.exit(serve(command, sys.stdin.buffer, sink))


def serve(command: Command, source: BinaryIO, sink: Any) -> int:
    """Answer every frame with one frame until `source` ends; return the exit code.

    Once a reply carries `error` the search is over: whatever still comes is answered with the same reply.

    Args:
        sink: Anything with `write`, buffered or not.

    Returns:
        0, also where splunkd went away in the middle; 1 after a frame that cannot be read.

    Raises:
        Exception: A bug in the command. The search has been told; the traceback is for search.log.
    """
    over: Optional[dict[str, Any]] = None
    try:
        while True:
            try:
                frame = read_frame(source)
            except ProtocolError as exc:
                _fail(sink, str(exc))
                return 1
            if frame is None:
                return 0
            reply, pieces = (over, ()) if over is not None else _replied(command, sink, *frame)
            del frame  # a body may be large, and is not needed while the reply is written
            write_frame(sink, reply, pieces)
            del pieces
            over = reply if "error" in reply else None
    except _GoneError:
        return 0


def _replied(
    command: Command, sink: Any, metadata: dict[str, Any], body: bytes
) -> tuple[dict[str, Any], Sequence[bytes]]:
    try:
        action = metadata.get("action")
        if action == "execute":
            return command.execute(metadata, body)
        if action == "getinfo":
            return command.getinfo(metadata), ()
        raise ProtocolError(f"splunkd sent the action {_shown(action)}: expected getinfo or execute.")
    except ProtocolError as exc:
        return _error(str(exc)), ()
    except Exception as exc:
        _fail(sink, f"This is a bug in the app cbsigned ({type(exc).__name__}): its traceback is in search.log.")
        raise


def read_frame(source: BinaryIO) -> Optional[tuple[dict[str, Any], bytes]]:
    """Return metadata and body of the next frame, or None at the end, a cut-off frame included.

    Raises:
        ProtocolError: The bytes are not a frame.
    """
    line = source.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        if len(line) < _MAX_LINE:
            return None
        raise ProtocolError(f"splunkd sent {_shown(line)}: expected a line such as chunked 1.0,37,85.")
    parts = [part.strip() for part in line.split(b",")]
    sizes = [int(part) for part in parts[1:] if part.isdigit() and len(part) < 12]
    if parts[0].split() != [b"chunked", b"1.0"] or len(sizes) != 2 or len(parts) != 3 or sizes[0] > _MAX_METADATA:
        raise ProtocolError(f"splunkd sent {_shown(line)}: expected a line such as chunked 1.0,37,85.")
    head = source.read(sizes[0])
    body = source.read(sizes[1]) if sizes[1] else b""
    if len(head) < sizes[0] or len(body) < sizes[1]:
        return None
    metadata = loads(head)
    if not isinstance(metadata, dict):
        raise ProtocolError(f"The metadata of a frame is {_shown(head)}: expected a JSON object.")
    return metadata, body


def write_frame(sink: Any, metadata: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
    """Write one frame; a long body is written in parts of about 1 MiB and never put together.

    Args:
        pieces: The body, in order.
    """
    head = dumps(metadata)
    size = sum(map(len, pieces))
    start = b"chunked 1.0,%d,%d\n%b" % (len(head), size, head)
    if size <= _PIECE:
        _write(sink, start + b"".join(pieces))
        return
    _write(sink, start)
    step = max(1, len(pieces) * _PIECE // size)
    for at in range(0, len(pieces), step):
        _write(sink, b"".join(pieces[at : at + step]))


class _GoneError(Exception):
    """Nobody reads our replies any more."""


def _write(sink: Any, data: bytes) -> None:
    try:
        written = sink.write(data)
        if written != len(data):  # a raw pipe may take a part
            view = memoryview(data)
            while written < len(data):
                written += sink.write(view[written:])
    except OSError:  # EPIPE, on Windows EINVAL
        raise _GoneError from None


def _error(text: str) -> dict[str, Any]:
    return {"finished": True, "error": text}


def _fail(sink: Any, text: str) -> None:
    write_frame(sink, _error(text))


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:80] + "…"


class _Context:
    """What the scanner that is written in C asks of a decoder."""

    strict = False
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def loads(text: bytes) -> Any:
    """Return what a JSON text means, as `json.loads` does.

    Raises:
        ProtocolError: It is not JSON.
    """
    try:
        plain = text.decode("utf-8").strip(" \t\r\n")
        value, end = _scanner()(plain, 0)
    except (ValueError, StopIteration, RecursionError):
        end, plain = -1, ""
    if end != len(plain):
        raise ProtocolError(f"The metadata of a frame is {_shown(text)}: that is not JSON.")
    return value


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner
    except ImportError:  # not CPython
        import json

        return json.JSONDecoder(strict=False).raw_decode
    return make_scanner(_Context)  # type: ignore[arg-type]  # duck-typed, as its own caller's is


def dumps(value: Any) -> bytes:
    """Return a value of JSON types as JSON without blanks, as `json.dumps` does, ASCII alone."""
    return _text(value).encode("ascii")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(name)}:{_text(item)}" for name, item in value.items()) + "}"
    return "[" + ",".join(map(_text, value)) + "]"


def _quoted(text: str) -> str:
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)
