"""The client of our own handler: asks `/services/cbsigned/<route>` of the splunkd that started us.

Search processes import this on their first cache miss, so it needs the standard library alone and little of that.
One connection is kept between questions. TLS is verified, on the loopback too: there against the CA that splunkd's
own certificate comes from, without its host name, which that certificate does not carry.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional, TypeVar, Union
from urllib.parse import SplitResult, urlsplit

__all__ = ["HandlerClient", "HandlerError", "batches", "splunkd_context"]

_T = TypeVar("_T")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MAX_ANSWER = 64 * 1024 * 1024
_MAX_TEXT = 600
_PART = 256 * 1024
_ROUTE = re.compile(r"[a-z_]{1,40}", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_PERMANENT = (400, 401, 403, 404, 405, 409)
_REFUSALS = {
    401: "splunkd refused the session key (401): the session of this search has ended. Run the search again.",
    403: "Your role lacks the capability cbsigned_use (403): ask an administrator to add it to your role.",
    404: "splunkd has no handler for cbsigned (404): the app is disabled, not installed on this search head, or "
    "splunkd was not restarted after its installation. Ask an administrator to look at Apps > Manage Apps.",
    429: "The handler of cbsigned has too much to do (429). Run the search again in a minute.",
}


class HandlerError(Exception):
    """The handler could not be asked, or refused; the text says what happened, why, and what to do.

    Attributes:
        fatal: Whether asking again within this search is of no use: a right or the handler itself is missing.
        status: Of the answer, None where there was none. 404 with `fatal` false is a job that is no longer kept.
    """

    def __init__(self, text: str, *, fatal: bool = False, status: Optional[int] = None) -> None:
        super().__init__(text)
        self.fatal = fatal
        self.status = status


class HandlerClient:
    """Asks the handler, for one thread.

    Args:
        uri: splunkd's management address as splunkd gave it, `https://127.0.0.1:8089`.
        session_key: Of the user who searches; never in a message.

    Raises:
        HandlerError: `uri` is no address that the key may be sent to, or the key cannot be one.
    """

    def __init__(self, uri: str, session_key: str) -> None:
        self._address = _address(uri)
        if not _KEY.fullmatch(session_key):
            raise HandlerError("splunkd gave this search no usable session key. Run the search again.", fatal=True)
        self._uri = uri
        self._session_key = session_key
        self._connection: Optional[http.client.HTTPConnection] = None

    def __repr__(self) -> str:
        return f"HandlerClient({self._host})"

    @property
    def _host(self) -> str:
        return self._address.netloc

    def close(self) -> None:
        """Close the kept connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def ask(self, route: str, document: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the handler's answer to one question.

        A kept connection that splunkd has closed meanwhile is replaced once; every route may be asked twice.

        Args:
            route: `rows`, `search` and so on.
            document: JSON types.
            timeout_s: For everything: connecting, sending, the whole answer.

        Raises:
            HandlerError: No answer in time, a refusal, or an answer that is not the handler's.
        """
        if not _ROUTE.fullmatch(route):
            raise ValueError(f"route is {route!r}: expected one word")
        body = json.dumps(document).encode("ascii")
        ends_at = time.monotonic() + timeout_s
        try:
            if self._connection is not None:
                with contextlib.suppress(_Lost):
                    return self._asked(route, body, ends_at, timeout_s)
            return self._asked(route, body, ends_at, timeout_s)
        except _Lost as exc:
            text = f"splunkd at {self._host} gave no answer: {exc}. Look at splunkd.log if this lasts."
        raise HandlerError(text)

    def _asked(self, route: str, body: bytes, ends_at: float, timeout_s: float) -> dict[str, Any]:
        """Send one question and return its answer; the connection is kept where the answer was read to its end."""
        whole = False
        try:
            connection = self._connected(ends_at)
            headers = {"Authorization": f"Splunk {self._session_key}", "Content-Type": "application/json"}
            connection.request("POST", f"/services/cbsigned/{route}", body, headers)
            response = _Timely.of(connection, ends_at)
            text = _read(response, self._host)
            whole = not response.will_close
        except (socket.timeout, TimeoutError):
            raise HandlerError(
                f"The handler of cbsigned at {self._host} gave no whole answer within {timeout_s:.1f} s. "
                "Raise timeout, search fewer events, or look at the load of the search head."
            ) from None
        except ssl.SSLCertVerificationError as exc:
            raise HandlerError(_untrusted(self._host, exc), fatal=True) from None
        except (OSError, http.client.HTTPException) as exc:
            raise _Lost(_reason(exc)) from None
        finally:
            if not whole:
                self.close()
        return _document(response, text, self._host, self._session_key)

    def _connected(self, ends_at: float) -> http.client.HTTPConnection:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise socket.timeout
        if self._connection is None:
            host, port = self._address.hostname or "", self._address.port or 8089
            context = splunkd_context(self._uri)
            self._connection = (
                http.client.HTTPConnection(host, port, timeout=left_s)
                if context is None
                else http.client.HTTPSConnection(host, port, timeout=left_s, context=context)
            )
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sock.settimeout(left_s)
        return self._connection


def splunkd_context(uri: str) -> Optional[ssl.SSLContext]:
    """Return how to verify the splunkd at an address; None for http, which is allowed on the loopback alone.

    Any host but the loopback is verified with its name, against the system's CAs and the one that server.conf names.
    The loopback is verified against the CA of `[sslConfig] sslRootCAPath`, else of `etc/auth/cacert.pem`; where
    neither file is there, it goes unverified.

    Args:
        uri: splunkd's management address.

    Raises:
        HandlerError: Not such an address, or the CA file cannot be read.
    """
    address = _address(uri)
    if address.scheme == "http":
        return None
    home = os.environ.get("SPLUNK_HOME", "")
    named = _existing(_named_ca(home))
    try:
        if address.hostname not in _LOOPBACK:
            verified = ssl.create_default_context()
            if named is not None:
                verified.load_verify_locations(named)
            return verified
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        authority = named or _existing(os.path.join(home, "etc", "auth", "cacert.pem") if home else None)
        if authority is not None:
            context.load_verify_locations(authority)
            return context
    except (ssl.SSLError, OSError) as exc:
        raise HandlerError(
            f"The CA file of splunkd cannot be read ({_reason(exc)}). Check sslRootCAPath in [sslConfig] of "
            "server.conf, or etc/auth/cacert.pem.",
            fatal=True,
        ) from None
    context.verify_mode = ssl.CERT_NONE
    import logging  # rarely needed, and slow to import in a search process

    logging.getLogger(__name__).debug("splunkd on the loopback goes unverified: there is no CA file of splunkd's.")
    return context


def batches(items: Sequence[_T], size_of: Callable[[_T], int], most: int, most_size: int) -> Iterator[list[_T]]:
    """Yield items in as few requests as number and size of one allow, in order; one that is too large goes alone.

    Args:
        items: What is asked.
        size_of: Size of one of them, in characters.
        most: Items of a request.
        most_size: Sum of their sizes.
    """
    batch: list[_T] = []
    size = 0
    for item in items:
        length = size_of(item)
        if batch and (len(batch) == most or size + length > most_size):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


class _Lost(Exception):
    """The connection broke before a whole answer came."""


class _Timely(io.RawIOBase):
    """Reads a socket no longer than to a given moment, however slowly the bytes come."""

    def __init__(self, raw: Any, sock: socket.socket, ends_at: float) -> None:
        self._raw, self._sock, self._ends_at = raw, sock, ends_at

    @classmethod
    def of(cls, connection: http.client.HTTPConnection, ends_at: float) -> http.client.HTTPResponse:
        """Return the answer to the request just sent, its header read, its body to be read in time as well."""

        def response(sock: socket.socket, **more: Any) -> http.client.HTTPResponse:
            made = http.client.HTTPResponse(sock, **more)
            made.fp = io.BufferedReader(cls(made.fp.detach(), sock, ends_at), _PART)
            return made

        connection.response_class = response  # type: ignore[assignment]
        return connection.getresponse()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Union[int, None]:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise socket.timeout
        if self._sock.fileno() >= 0:
            self._sock.settimeout(left_s)
        count: Optional[int] = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _address(uri: str) -> SplitResult:
    try:
        address = urlsplit(uri)
        host, _port = address.hostname, address.port
    except ValueError:
        host, address = None, urlsplit("")
    plain = address.scheme == "http" and host in _LOOPBACK
    if not host or address.username is not None or not (plain or address.scheme == "https"):
        shown = _CONTROL.sub(" ", uri.rpartition("@")[2])[:80]
        raise HandlerError(
            f"The address of splunkd is {shown!r}: expected one such as https://127.0.0.1:8089.", fatal=True
        )
    return address


def _named_ca(home: str) -> Optional[str]:
    """Return `sslRootCAPath` with its environment variables expanded, of the first server.conf that names one.

    They are asked in Splunk's own order: `etc/system/local`, then the apps' `local` and `default`, by name.
    """
    if not home:
        return None
    etc = os.path.join(home, "etc")
    try:
        apps = sorted(os.listdir(os.path.join(etc, "apps")))
    except OSError:
        apps = []
    for folder in [("system", "local"), *(("apps", app, kind) for kind in ("local", "default") for app in apps)]:
        named = _root_ca(os.path.join(etc, *folder, "server.conf"))
        if named:
            return os.path.expandvars(named.replace("$SPLUNK_HOME", home))
    return None


def _root_ca(path: str) -> Optional[str]:
    """Return `sslRootCAPath` of `[sslConfig]` in one file, None where it names none."""
    named, stanza = None, ""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as lines:
            for line in lines:
                text = line.strip()
                if text.startswith("["):
                    stanza = text.strip("[]").strip()
                elif stanza == "sslConfig" and text.partition("=")[0].strip() == "sslRootCAPath":
                    named = text.partition("=")[2].strip()
    except OSError:
        return None
    return named


def _existing(path: Optional[str]) -> Optional[str]:
    return path if path and os.path.isfile(path) else None


def _read(response: http.client.HTTPResponse, host: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        part = response.read(_PART)
        if not part:
            if response.length:  # a read by parts does not notice by itself
                raise http.client.IncompleteRead(b"")
            return b"".join(parts)
        size += len(part)
        if size > _MAX_ANSWER:
            raise HandlerError(
                f"The handler at {host} answered more than {_MAX_ANSWER >> 20} MiB. Ask for fewer rows at once."
            )
        parts.append(part)


def _document(response: http.client.HTTPResponse, text: bytes, host: str, session_key: str) -> dict[str, Any]:
    """Return the JSON object of an answer, or raise what its status means."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if response.status == 200:
        if isinstance(document, dict):
            return document
        kind = response.headers.get_content_type()
        raise HandlerError(
            f"{host} answered {_CONTROL.sub(' ', kind)[:60]}, not the handler's JSON: a proxy or login page is likely "
            "in its place. Check mgmtHostPort in web.conf.",
            status=200,
        )
    told = document.get("error") if isinstance(document, dict) else None
    own = isinstance(told, str) and told.strip() != ""
    fatal = response.status in _PERMANENT and not (own and response.status == 404)
    if own:
        said = _CONTROL.sub(" ", str(told)).replace(session_key, "…")[:_MAX_TEXT]
    else:
        said = _REFUSALS.get(response.status) or (
            f"The handler of cbsigned failed ({response.status}): its reason is in splunkd.log, or python.log, of the "
            "search head."
        )
    raise HandlerError(said, fatal=fatal, status=response.status)


def _reason(exc: BaseException) -> str:
    """Return what broke, in words; never a text of the library that may hold a header."""
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused, so splunkd is not running or listens on another port"
    if isinstance(exc, http.client.HTTPException) and not isinstance(exc, OSError):
        return "it is not HTTP, or was cut off"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__


def _untrusted(host: str, exc: ssl.SSLCertVerificationError) -> str:
    return (
        f"The certificate of splunkd at {host} is not trusted ({exc.verify_message}). Set sslRootCAPath in [sslConfig] "
        "of server.conf to the CA that issued it; for any host but the loopback it must carry the host's name too."
    )
