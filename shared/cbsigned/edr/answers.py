"""HTTP answers, read within bounds and judged: a JSON document, or the error that says what came instead.

Error bodies are never parsed but for the one word of a JSON `reason`, and nothing of a body is ever quoted.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Optional

import requests
from requests.exceptions import ProxyError
from urllib3.exceptions import HTTPError, IncompleteRead

from cbsigned.errors import (
    SourceAuthError,
    SourceBusy,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceUnavailable,
)

__all__ = [
    "Answer",
    "AnswerCut",
    "ConnectionLost",
    "Forbidden",
    "NoRoute",
    "http_date",
    "of_failure",
    "of_status",
    "read_body",
    "read_json",
    "retry_after_s",
]

_CHUNK = 65_536
_ERROR_BODY = 4_096
_MAX_LEVELS = 100  # of JSON in JSON; the EDR's own documents have fewer than ten
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Answer:
    """A JSON document from the server.

    Attributes:
        served_at: The server's own clock, UTC, or None where it does not say.
    """

    document: dict[str, Any]
    served_at: Optional[datetime] = None


class ConnectionLost(SourceUnavailable):
    """The connection ended before an answer began; worth asking again at once."""


class AnswerCut(SourceResponseError):
    """The connection ended within the answer; worth asking again."""


class Forbidden(SourceAuthError):
    """403: the token is good, and its user lacks the right."""


class NoRoute(SourceResponseError):
    """404 on a route that searches use."""


def read_body(response: requests.Response, host: str, limit: int) -> bytes:
    """Return the whole body, unpacked, reading no more than `limit` bytes of it.

    Raises:
        SourceResponseError: Longer than `limit`, or packed in a way that cannot be unpacked.
        AnswerCut: The connection ended before the announced length.
    """
    packing = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if packing not in ("identity", "gzip", "x-gzip", "deflate"):
        raise SourceResponseError(
            f"{host} packed its answer in a way we did not ask for. A proxy in front of it is likely: "
            "let it pass Accept-Encoding on."
        )
    unpacker = None if packing == "identity" else zlib.decompressobj(47 if "gzip" in packing else zlib.MAX_WBITS)
    body = bytearray()
    for chunk in _raw_chunks(response, host):
        try:
            body += chunk if unpacker is None else unpacker.decompress(chunk, limit + 1 - len(body))
        except zlib.error as exc:
            raise SourceResponseError(f"{host} sent a packed answer that cannot be unpacked. Try again.") from exc
        if len(body) > limit:
            raise SourceResponseError(
                f"{host} sent more than {limit} bytes for one answer; it was not read to the end. "
                "Raise max_response_bytes if that is expected."
            )
    if unpacker is not None and body and not unpacker.eof:
        raise SourceResponseError(f"{host} sent a packed answer that is cut off. Look at proxies between.")
    return bytes(body)


def read_json(response: requests.Response, host: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object of a 200 answer.

    Raises:
        SourceResponseError: It is empty, not announced as JSON, cut off, not UTF-8, or not an object.
    """
    kind = _content_type(response)
    if not body.strip():
        raise SourceResponseError(
            f"{host} sent an empty answer ({response.status_code}). Look at the server's log, and proxies between."
        )
    if kind == "text/html" or (not _is_json(kind) and body.lstrip()[:1] == b"<"):
        raise SourceResponseError(
            f"{host} answered HTML, not JSON: a proxy or login page is likely in front of it. "
            "Open the URL from this host."
        )
    if not _is_json(kind):
        shown = kind if re.fullmatch(r"[a-z]+/[a-z0-9.+\-]{1,40}", kind) else "something else"
        raise SourceResponseError(f"{host} answered {shown}, not JSON. Check that url names a Carbon Black EDR server.")
    try:
        document = json.loads(body.decode("utf-8-sig"))  # bytes would be read as UTF-16 too, and half characters let in
        if _SURROGATE.search(body):
            document = _without_surrogates(document)
    except (ValueError, RecursionError):
        raise SourceResponseError(
            f"{host} sent JSON that cannot be read: cut off or damaged after {len(body)} bytes. "
            "Try again; if it stays so, look at proxies between."
        ) from None  # the decoder's error holds the whole body
    if not isinstance(document, dict):
        raise SourceResponseError(
            f"{host} sent JSON of another shape: a {type(document).__name__}, expected an object. Check url."
        )
    return document


def of_status(response: requests.Response, host: str) -> SourceError:
    """Return the error that a status other than 200 stands for."""
    status = response.status_code
    if status == 400:
        word = _reason_word(response, host)
        return SourceQueryError(
            f"{host} refused the query (400{', ' + word if word else ''}): blocked by policy or syntax. "
            "Ask its administrator whether searches with binary metadata are blocked; nothing is known from this."
        )
    if status == 401:
        return SourceAuthError(
            f"{host} refused the API token (401): it is wrong or was reset. Copy it again from the user's profile."
        )
    if status == 403:
        return Forbidden(
            f"{host} refused this request (403): the token's user lacks the right. "
            "Use a token whose user may view the sensor groups and binaries."
        )
    if status == 407:
        return SourceAuthError(
            f"The proxy in front of {host} asks for credentials (407). Put them into the setting proxy."
        )
    if status in (408, 500, 502, 503, 504):
        return SourceUnavailable(f"{host} could not answer ({status}, {_STATUS[status]}). Try again later.")
    if status == 429:
        return SourceBusy(f"{host} asks us to slow down (429). Try again later, or lower the setting parallel.")
    if 300 <= status < 400:
        return SourceResponseError(
            f"{host} redirected us ({status}), and the token goes nowhere else: a login page or a proxy is likely. "
            "Set url to the server itself."
        )
    if status in (413, 414):
        return SourceQueryError(f"{host} refused the query as too long ({status}). Look at proxies in front of it.")
    if status == 404:
        return NoRoute(
            f"{host} has no such route (404): no Carbon Black EDR server, or another path. Check the setting url."
        )
    if status == 405:
        return SourceResponseError(
            f"{host} refused the HTTP method (405). A proxy that forbids POST is likely; searches need it."
        )
    kind = "could not answer" if status >= 500 else "gave an answer we do not know"
    error = SourceUnavailable if status >= 500 else SourceResponseError
    return error(f"{host} {kind} ({status}). Look at the server's log.")


_STATUS = {
    408: "it waited for us",
    500: "an error of its own",
    502: "its back end is down or restarting",
    503: "overloaded or in maintenance",
    504: "its search took too long",
}


def of_failure(exc: BaseException, host: str, *, proxy: bool = False) -> SourceError:
    """Return the error that a failed exchange stands for: DNS, refused, TLS, lost.

    Args:
        exc: What requests, urllib3 or a socket raised; it may name the URL, so its text is never used.
        proxy: A proxy is set.
    """
    chain = list(_chain(exc, set()))
    error = _classified(chain, host, proxy)
    roots = [e for e in chain if isinstance(e, OSError) and type(e).__module__ in ("builtins", "socket", "ssl")]
    if roots:  # the plain socket error alone: those around it hold the request, and with it the token
        error.__cause__ = type(roots[-1])(*roots[-1].args)
    return error


def _classified(chain: list[BaseException], host: str, proxy: bool) -> SourceError:
    at_proxy = proxy and any(isinstance(e, ProxyError) for e in chain)
    where = f"the proxy for {host}" if at_proxy else host
    check = "proxy" if at_proxy else "url"
    by_type = {kind for kind in _KINDS for e in chain if isinstance(e, kind)}
    verification = next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)
    if verification is not None or any(type(e).__name__ == "CertificateError" for e in chain):
        return SourceUnavailable(_certificate(where, verification))
    if ssl.SSLError in by_type and ssl.SSLEOFError not in by_type:
        return SourceUnavailable(
            f"No TLS connection to {where}: it does not speak TLS 1.2 or later, or no TLS at this port. "
            f"Check the setting {check}."
        )
    if socket.gaierror in by_type:
        return SourceUnavailable(
            f"The name of {where} cannot be resolved. Check the setting {check} and this host's DNS."
        )
    if ConnectionRefusedError in by_type:
        return SourceUnavailable(
            f"{where} refused the connection: nothing listens there. Check the port of the setting {check}."
        )
    if at_proxy:
        return SourceUnavailable(f"{where} passed nothing on. Check the setting proxy and its credentials.")
    if any(isinstance(e, (IncompleteRead, http.client.IncompleteRead)) for e in chain):
        return AnswerCut(f"{where} closed the connection within its answer. Try again; else look at its log.")
    if any(isinstance(e, (ConnectionError, ssl.SSLEOFError)) for e in chain):
        return ConnectionLost(f"{where} closed the connection without an answer. Try again; else look at its log.")
    if any(isinstance(e, http.client.HTTPException) for e in chain):
        return SourceResponseError(f"{where} answered something that is not HTTP. Check the setting {check}.")
    if isinstance(chain[0], ValueError) and not isinstance(chain[0], (requests.RequestException, HTTPError)):
        return SourceResponseError(f"{where} sent headers that cannot be read. Look at proxies between.")
    return SourceUnavailable(f"{where} cannot be reached. Check the setting {check} and the network between.")


_KINDS = (ssl.SSLEOFError, ssl.SSLError, socket.gaierror, ConnectionRefusedError)


def _certificate(where: str, exc: Optional[ssl.SSLCertVerificationError]) -> str:
    code = getattr(exc, "verify_code", None)
    if exc is None or code in (62, 64) or "mismatch" in str(exc):  # host name, address
        why = "it is for another name. Set tls_hostname to the name it carries"
    elif code == 10:
        why = "it has expired. Renew it on the server"
    else:
        why = "its issuer is not trusted. Set ca_file to the PEM file of the CA, or of a self-signed server"
    return f"The certificate of {where} was not accepted: {why}."


def retry_after_s(response: requests.Response) -> Optional[float]:
    """Return the seconds that `Retry-After` asks for, as a number or a date, or None."""
    text = (response.headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    until = http_date(text)
    if until is None:
        return None
    now = http_date(response.headers.get("Date")) or datetime.now(timezone.utc)
    return max(0.0, (until - now).total_seconds())


def http_date(text: Optional[str]) -> Optional[datetime]:
    """Return an HTTP date as UTC, or None where it is none."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _raw_chunks(response: requests.Response, host: str) -> Iterator[bytes]:
    """Yield the body as it came, and see to it that all of it came."""
    announced = response.headers.get("Content-Length") or ""
    received = 0
    while True:
        chunk = response.raw.read(_CHUNK, decode_content=False)
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if announced.isascii() and announced.isdigit() and received < int(announced[:18]):
        raise AnswerCut(
            f"{host} closed the connection within its answer, after {received} of {announced[:18]} bytes. "
            "Try again; if it stays so, look at proxies between."
        )


def _reason_word(response: requests.Response, host: str) -> Optional[str]:
    """Return the JSON `reason` of an error body where it is one short plain word."""
    if not _is_json(_content_type(response)):
        return None
    try:
        reason = json.loads(read_body(response, host, _ERROR_BODY)).get("reason")
    except (ValueError, AttributeError, RecursionError, SourceError, OSError, HTTPError):
        return None
    return reason if isinstance(reason, str) and re.fullmatch(r"[a-z][a-z_]{1,39}", reason) else None


def _content_type(response: requests.Response) -> str:
    return (response.headers.get("Content-Type") or "").split(";", 1)[0].strip().lower()


def _is_json(kind: str) -> bool:
    return kind in ("application/json", "text/json") or bool(re.fullmatch(r"application/[a-z0-9.\-]+\+json", kind))


def _chain(exc: Optional[BaseException], seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps, in any of the ways that requests and urllib3 wrap."""
    if exc is None or id(exc) in seen:
        return
    seen.add(id(exc))
    yield exc
    for inner in (getattr(exc, "reason", None), *exc.args, exc.__cause__, exc.__context__):
        if isinstance(inner, BaseException):
            yield from _chain(inner, seen)


def _without_surrogates(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Replace half characters, which no file, database or terminal can take.

    Counts its levels: at the interpreter's own limit a finalizer that happens to run fails too.

    Raises:
        ValueError: The value nests deeper than `levels`.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (list, dict)) and not levels:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_without_surrogates(item, levels - 1) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item, levels - 1) for key, item in value.items()}
    return value
