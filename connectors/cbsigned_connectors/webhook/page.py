"""`GET /`: the analyst's page. Paste a hash, a process guid or a whole alert, and see its card.

Server-rendered, and usable without JavaScript; nothing is loaded from elsewhere, and the policy sent with it forbids
inline script and style. It is protected as the API is: whoever types a token that proves a sender gets a session, in
a cookie that no script can read and no other site's request carries, and sees what that sender may see.

`page_routes(state)` is mounted by the app, which is the `PageState`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Callable, Optional, Protocol
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from cbsigned.render.document import Document
from cbsigned_connectors.webhook.credentials import Network
from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.paste import body_of
from cbsigned_connectors.webhook.recent import Recent, Seen
from cbsigned_connectors.webhook.senders import client_address
from cbsigned_connectors.webhook.sessions import Attempts, Session, Sessions
from cbsigned_connectors.webhook.views import Message, SourceState, Views, markdown_of

__all__ = ["PAGE_HEADERS", "PageState", "Recent", "SourceState", "page_routes"]

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would send its forms with Origin: null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer of the page."""

_MAX_PASTE = 2**20
_MAX_FORM = 3 * _MAX_PASTE + 4096  # a form writes most of JSON's marks as three characters
_MAX_CARRIED = 100_000  # of what was pasted, through the sign-in page
_MAX_SIGN_IN = 3 * _MAX_CARRIED + 8192
_MAX_TOKEN = 1024
_FORM_S = 20
_ONWARD = re.compile(r"/|/page/seen/\d{1,15}", re.ASCII)
_ENDED = "Your session has ended. Sign in again."
_FOREIGN = (
    "This form was sent by another site, or is older than your session. Nothing was looked up. Send it again from here."
)
_Handler = Callable[[Request], Awaitable[Response]]


class PageState(Protocol):
    """What the page needs of the service."""

    @property
    def recent(self) -> Recent:
        """Where answers are kept for the page. The API adds to it too; what `look_up` returns is added by the page."""

    def sign_in(self, token: str, address: Optional[str]) -> Optional[str]:
        """Return the name of the sender that a bearer token proves, None for none.

        Args:
            token: As typed.
            address: Where the connection comes from.
        """

    async def look_up(self, sender: str, body: bytes) -> Sequence[Document]:
        """Return the enrichments of every alert in a JSON body, at least one, within the service's deadline.

        A source that does not answer is told in the documents, as gaps.

        Raises:
            ProblemError: The body cannot be read, or the sender may not ask now; `detail` is shown.
        """

    def sources(self) -> Sequence[SourceState]:
        """Return whether each source answers, as last known; asks nobody."""


def page_routes(
    state: PageState,
    sessions: Optional[Sessions] = None,
    attempts: Optional[Attempts] = None,
    trusted_proxies: Sequence[Network] = (),
) -> APIRouter:
    """Return the routes of the page, `/` and those below `/page`; they stand in no OpenAPI document.

    Args:
        state: The service.
        sessions, attempts: Tests pass their own, with a clock.
        trusted_proxies: Whose `X-Forwarded-For` is believed, so that one who guesses tokens does not lock out all who
            come through the same proxy.
    """
    page = _Page(state, sessions or Sessions(), attempts or Attempts(), trusted_proxies)
    router = APIRouter()
    routes: tuple[tuple[str, str, _Handler], ...] = (
        ("GET", "/", page.home),
        ("POST", "/page/sign-in", page.sign_in),
        ("POST", "/page/sign-out", page.sign_out),
        ("POST", "/page/look-up", page.look_up),
        ("GET", "/page/seen/{number:int}", page.seen),
        ("GET", "/page/seen/{number:int}/{kind}", page.seen_as),
        ("GET", "/page/static/{name}", page.asset),
    )
    for method, path, handler in routes:
        router.add_route(path, handler, methods=[method], include_in_schema=False)
    return router


class _Page:
    """The handlers."""

    def __init__(
        self, state: PageState, sessions: Sessions, attempts: Attempts, trusted_proxies: Sequence[Network]
    ) -> None:
        self.state, self.sessions, self.attempts = state, sessions, attempts
        self.trusted_proxies = trusted_proxies
        self.views = Views()

    async def home(self, request: Request) -> Response:
        """Show the form, or the way in."""
        session = self._session(request)
        return await self._shown(session) if session else await self._way_in(request)

    async def sign_in(self, request: Request) -> Response:
        """Begin a session for a token that proves a sender."""
        if not _same_origin(request):
            return await self._way_in(request, error=_FOREIGN, status=403)
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        address = client_address(request.client.host if request.client else "", forwarded, self.trusted_proxies) or ""
        wait_s = self.attempts.wait_s(address)
        if wait_s:
            told = f"Too many failed attempts from your address. Try again in {wait_s} s."
            return await self._way_in(request, error=told, status=429, headers={"Retry-After": str(wait_s)})
        try:
            form = await _form(request, _MAX_SIGN_IN)
        except ProblemError as exc:
            return await self._way_in(request, error=exc.detail, status=exc.status)
        token, paste = form.get("token", "").strip(), form.get("paste", "")
        sender = self.state.sign_in(token, address or None) if 0 < len(token) <= _MAX_TOKEN else None
        onward = form.get("onward", "/")
        onward = onward if _ONWARD.fullmatch(onward) else "/"
        if sender is None:
            self.attempts.failed(address)
            told = "This token is not known. Copy it whole, without spaces; a token that was replaced is refused too."
            return await self._way_in(request, error=told, status=401, paste=paste, onward=onward)
        cookie = self.sessions.begin(sender)
        session = self.sessions.of(cookie)
        response = await self._shown(session, paste=paste) if paste and session else _see(onward)
        response.set_cookie(
            _cookie_name(request), cookie, max_age=int(self.sessions.life_s), path="/", httponly=True,
            secure=_over_tls(request), samesite="strict",
        )  # fmt: skip
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session = self._session(request)
        try:
            if session is not None and await self._own_form(request, session, 4096) is None:
                return await self._shown(session, error=_FOREIGN, status=403)
        except ProblemError as exc:
            return await self._shown(session, error=exc.detail, status=exc.status) if session else _see("/")
        name = _cookie_name(request)
        self.sessions.end(request.cookies.get(name))
        response = _see("/")
        response.delete_cookie(name, path="/", httponly=True, secure=_over_tls(request), samesite="strict")
        return response

    async def look_up(self, request: Request) -> Response:
        """Look up what was pasted, keep the answer, and go to it."""
        session = self._session(request)
        if session is None:
            carried = await self._pasted(request)
            return await self._way_in(request, error=_ENDED, status=401, paste=carried)
        paste = ""
        try:
            form = await self._own_form(request, session, _MAX_FORM)
            if form is None:
                return await self._shown(session, error=_FOREIGN, status=403)
            paste = form.get("paste", "")
            documents = await self.state.look_up(session.sender, body_of(paste))
        except ProblemError as exc:
            shown = paste if len(paste) <= _MAX_CARRIED else ""
            return await self._shown(session, error=exc.detail, status=exc.status, paste=shown, headers=exc.headers)
        bodies = await run_in_threadpool(lambda: [json.dumps(document).encode("ascii") for document in documents])
        return _see(f"/page/seen/{self.state.recent.add(session.sender, bodies)}#result")

    async def seen(self, request: Request) -> Response:
        """Show one answer."""
        session = self._session(request)
        if session is None:
            return await self._way_in(request, onward=request.url.path)
        seen = self._seen(session, request)
        if seen is None:
            gone = "This answer is not kept any more, or was never yours. Look it up again."
            return await self._shown(session, error=gone, status=404)
        return await self._shown(session, seen=seen)

    async def seen_as(self, request: Request) -> Response:
        """Give one answer as Markdown, for a ticket, or as JSON."""
        session, kind = self._session(request), request.path_params["kind"]
        if session is None:
            return await self._way_in(request)
        seen = self._seen(session, request)
        if seen is None or kind not in ("markdown", "json"):
            return PlainTextResponse("There is no such answer. Look it up again.\n", 404, PAGE_HEADERS)
        if kind == "markdown":  # as plain text, which a browser shows and does not save
            return PlainTextResponse(await run_in_threadpool(markdown_of, seen), headers=PAGE_HEADERS)
        documents = seen.documents()
        text = json.dumps(documents[0] if seen.total == 1 else {"enrichments": documents}, indent=1)
        return Response(text, media_type="application/json", headers=PAGE_HEADERS)

    async def asset(self, request: Request) -> Response:
        """Give the style sheet, the script or the icon; they hold nothing that is secret."""
        found = self.views.assets.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("There is nothing here.\n", 404, PAGE_HEADERS)
        content, kind = found
        headers = {**PAGE_HEADERS, "Content-Type": kind, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, headers=headers)

    def _session(self, request: Request) -> Optional[Session]:
        return self.sessions.of(request.cookies.get(_cookie_name(request)))

    def _seen(self, session: Session, request: Request) -> Optional[Seen]:
        return self.state.recent.get(session.sender, request.path_params["number"])

    async def _own_form(self, request: Request, session: Session, limit: int) -> Optional[Mapping[str, str]]:
        """Return the fields of a form that this session's page has sent; None for another's."""
        if not _same_origin(request):
            return None
        form = await _form(request, limit)
        return form if session.owns(form.get("form_token", "")) else None

    async def _pasted(self, request: Request) -> str:
        """Return what was pasted into a page whose session has ended, so that it need not be pasted again."""
        try:
            paste = (await _form(request, _MAX_SIGN_IN)).get("paste", "") if _same_origin(request) else ""
        except ProblemError:
            return ""
        return paste if len(paste) <= _MAX_CARRIED else ""

    async def _shown(
        self, session: Session, *, seen: Optional[Seen] = None, error: str = "", status: int = 200, paste: str = "",
        headers: Optional[Mapping[str, str]] = None,
    ) -> Response:  # fmt: skip
        recent, sources = self.state.recent.of(session.sender), self.state.sources()
        message = Message(error) if error else None
        text = await run_in_threadpool(self.views.page, session, recent, sources, seen=seen, error=message, paste=paste)
        return _html(text, status, headers)

    async def _way_in(
        self, request: Request, *, error: str = "", status: int = 0, paste: str = "", onward: str = "/",
        headers: Optional[Mapping[str, str]] = None,
    ) -> Response:  # fmt: skip
        again = request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"
        message = Message(error) if error else None
        text = self.views.sign_in(error=message, paste=paste, onward=onward, again=again)
        status = status or (200 if request.url.path == "/" else 401)
        challenge = {"WWW-Authenticate": 'Bearer realm="cbsigned"'} if status == 401 else {}
        return _html(text, status, {**challenge, **(headers or {})})


def _html(text: str, status: int, headers: Optional[Mapping[str, str]]) -> Response:
    content = text.encode("utf-8", "replace")  # half a character in an alert ends nothing
    return HTMLResponse(content, status, {**PAGE_HEADERS, **(headers or {})})


def _see(path: str) -> Response:
    return RedirectResponse(path, 303, PAGE_HEADERS)


def _cookie_name(request: Request) -> str:
    return "__Host-cbsigned" if _over_tls(request) else "cbsigned"


def _over_tls(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us.

    Any proxy is believed: who could forge the header could only keep their own cookie from being sent.
    """
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return request.url.scheme == "https" or forwarded == "https"


def _same_origin(request: Request) -> bool:
    """Whether a form comes from a page of ours, as the browser says; a client that is no browser says nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


async def _form(request: Request, limit: int) -> Mapping[str, str]:
    """Return the fields of a form.

    Raises:
        ProblemError: 408, 413, 415, or 400 where it is no text.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ProblemError(415, "This is read from the page's own form only. Programs post to /v1/alerts.")
    try:
        text = (await asyncio.wait_for(_body(request, limit), _FORM_S)).decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=8)
    except asyncio.TimeoutError:
        raise ProblemError(408, f"The form did not arrive within {_FORM_S} s. Send it again.") from None
    except ClientDisconnect:
        raise ProblemError(400, "The form did not arrive whole. Send it again.") from None
    except ValueError:  # not ASCII, not UTF-8 behind the escapes, or too many fields
        raise ProblemError(400, "The form cannot be read. Send it again from the page.") from None
    return dict(fields)


async def _body(request: Request, limit: int) -> bytes:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise ProblemError(413, f"That is more than {limit // 3:,} characters. Post large alerts to /v1/alerts.")
    return bytes(raw)
