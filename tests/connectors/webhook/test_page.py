"""The page as a browser's requests see it: who gets in, whose forms are taken, what each answer says and forbids."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Optional

import pytest
import requests

from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.page import PAGE_HEADERS
from connectors.webhook.page_service import OTHER, TOKEN, Running, Service, running
from connectors.webhook.serving import TOKEN as API_TOKEN
from connectors.webhook.serving import Client

MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e"
FORM = "application/x-www-form-urlencoded"


class Browser:
    """Requests as a browser sends them from pages of the service itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=20, **more)

    def post(self, path: str, headers: Optional[dict[str, str]] = None, **fields: str) -> requests.Response:
        sent = self.own if headers is None else headers
        return self.session.post(self.url + path, data=fields, headers=sent, allow_redirects=False, timeout=20)

    def sign_in(self, token: str = TOKEN, **more: str) -> requests.Response:
        return self.post("/page/sign-in", token=token, **more)

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.get("/").text)
        assert found is not None
        return found.group(1)

    def look_up(self, paste: str = MD5, **more: str) -> requests.Response:
        return self.post("/page/look-up", **{"form_token": self.form_token(), "paste": paste, **more})


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as ready:
        yield ready


@pytest.fixture
def browser(server: Running, service: Service) -> Iterator[Browser]:
    ready = Browser(server.serve(service))
    yield ready
    ready.session.close()


@pytest.fixture
def inside(browser: Browser) -> Browser:
    assert browser.sign_in().status_code == 303
    return browser


def error_of(answer: requests.Response) -> str:
    found = re.search(r'role="alert">(.*?)</p>', answer.text, re.DOTALL)
    return html.unescape(found.group(1)) if found else ""


def test_without_a_session_there_is_nothing_but_the_way_in(browser: Browser, service: Service) -> None:
    number = service.recent.add("analyst", [b"{}"])

    home, seen, kind = (browser.get(path) for path in ("/", f"/page/seen/{number}", f"/page/seen/{number}/json"))

    assert (home.status_code, seen.status_code, kind.status_code) == (200, 401, 401)
    for answer in (home, seen, kind):
        assert 'name="token"' in answer.text
        assert "edr:cb.example.test" not in answer.text
    assert seen.headers["WWW-Authenticate"].startswith("Bearer")
    assert f'name="onward" value="/page/seen/{number}"' in seen.text


def test_a_token_of_a_sender_opens_a_session_that_no_script_and_no_other_site_can_use(
    browser: Browser, service: Service
) -> None:
    answer = browser.sign_in()

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("cbsigned=")
    assert {part.strip() for part in cookie.split(";")[1:]} >= {"HttpOnly", "SameSite=strict", "Path=/"}
    assert TOKEN not in cookie
    assert "Signed in as <b>analyst</b>" in browser.get("/").text
    assert service.signed_in_from == ["127.0.0.1"]


def test_behind_tls_the_cookie_is_secure_and_bound_to_the_host(browser: Browser) -> None:
    """A proxy that ends TLS says so."""
    tls = {"X-Forwarded-Proto": "https"}

    answer = browser.post("/page/sign-in", headers={**tls, "Sec-Fetch-Site": "same-origin"}, token=TOKEN)

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-cbsigned=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert "Signed in as" in browser.get("/", headers={**tls, "Cookie": cookie.split(";")[0]}).text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN.upper(), TOKEN + " x", "ä" * 20, "x" * 2000])
def test_another_token_opens_nothing_and_is_not_repeated(browser: Browser, token: str) -> None:
    answer = browser.sign_in(token)

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert "This token is not known" in error_of(answer)
    assert len(token) < 4 or token not in answer.text


def test_blanks_around_a_copied_token_do_not_matter(browser: Browser) -> None:
    assert browser.sign_in(f"  {TOKEN}\r\n").status_code == 303


def test_who_guesses_tokens_must_wait(browser: Browser, service: Service) -> None:
    for _ in range(10):
        assert browser.sign_in("wrong").status_code == 401

    refused = browser.sign_in(TOKEN)
    service.clock.now += 61
    admitted = browser.sign_in(TOKEN)

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "Try again in 60 s" in error_of(refused)
    assert admitted.status_code == 303


def test_behind_a_trusted_proxy_who_guesses_locks_out_nobody_else(server: Running, service: Service) -> None:
    service.proxies = ["127.0.0.1/32"]
    browser = Browser(server.serve(service))
    for _ in range(10):
        browser.post("/page/sign-in", headers={**browser.own, "X-Forwarded-For": "192.0.2.1"}, token="wrong")

    guesser, other = (
        browser.post("/page/sign-in", headers={**browser.own, "X-Forwarded-For": address}, token=TOKEN).status_code
        for address in ("192.0.2.2, 192.0.2.1", "192.0.2.1, 192.0.2.2")
    )
    browser.session.close()

    assert (guesser, other) == (429, 303)


@pytest.mark.parametrize("cookie", ["", "x", "ä", "a" * 43, "a" * 3000])
def test_a_forged_cookie_is_none(browser: Browser, cookie: str) -> None:
    answer = browser.get("/", headers={"Cookie": f"cbsigned={cookie}".encode()})

    assert 'name="token"' in answer.text


def test_a_session_ends_after_eight_hours_and_what_was_pasted_comes_back(inside: Browser, service: Service) -> None:
    token = inside.form_token()
    service.clock.now += 8 * 3600

    ended = inside.post("/page/look-up", form_token=token, paste='{"a": "<b>\n1"}')
    carried = re.search(r'name="paste" value="(.*?)">', ended.text, re.DOTALL)
    assert carried is not None
    again = inside.sign_in(paste=html.unescape(carried.group(1)))

    assert ended.status_code == 401
    assert "session has ended" in error_of(ended)
    assert again.status_code == 200
    assert "{&#34;a&#34;: &#34;&lt;b&gt;\n1&#34;}</textarea>" in again.text
    assert service.asked == []


def test_signing_out_ends_the_session_not_only_the_cookie(inside: Browser) -> None:
    cookies = inside.session.cookies.copy()

    answer = inside.post("/page/sign-out", form_token=inside.form_token())
    inside.session.cookies.update(cookies)

    assert answer.status_code == 303
    assert 'name="token"' in inside.get("/").text


def test_who_wanted_an_answer_gets_there_after_signing_in(browser: Browser) -> None:
    assert browser.sign_in(onward="/page/seen/12").headers["Location"] == "/page/seen/12"


@pytest.mark.parametrize(
    "onward", ["https://evil.test/", "//evil.test", "/\\evil.test", "/page/seen/1\r\nX: 1", "/v1", "", "/page/seen/1/x"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(browser: Browser, onward: str) -> None:
    assert browser.sign_in(onward=onward).headers["Location"] == "/"


def test_a_look_up_asks_for_the_sender_and_leads_to_its_answer(inside: Browser, service: Service) -> None:
    answer = inside.look_up()

    assert (answer.status_code, answer.headers["Location"]) == (303, "/page/seen/1#result")
    assert service.asked == [("analyst", {"hash": MD5})]
    shown = inside.get("/page/seen/1")
    assert shown.status_code == 200
    assert "Signed: procmon64.exe" in re.findall("<title>(.*?)</title>", shown.text)[0]
    assert 'id="result"' in shown.text
    assert 'aria-current="page"' in shown.text


def test_an_answer_can_be_had_as_markdown_and_as_json(inside: Browser) -> None:
    inside.look_up()

    markdown, plain = inside.get("/page/seen/1/markdown"), inside.get("/page/seen/1/json")

    assert markdown.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "procmon64" in markdown.text
    assert plain.json()["subjects"][0]["md5"] == MD5
    assert inside.get("/page/seen/1/exe").status_code == 404


@pytest.mark.parametrize("name", ["sender", "number"])
def test_nobody_sees_anothers_answers(
    inside: Browser, service: Service, name: str, request: pytest.FixtureRequest
) -> None:
    inside.look_up()
    other = Browser(inside.url)
    request.addfinalizer(other.session.close)
    other.sign_in(OTHER)
    number = "1" if name == "sender" else "9" * 15

    page, kind, home = other.get(f"/page/seen/{number}"), other.get(f"/page/seen/{number}/json"), other.get("/")

    assert (page.status_code, kind.status_code) == (404, 404)
    assert "not kept any more, or was never yours" in error_of(page)
    for answer in (page, kind, home):
        assert "procmon64" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["sign-in", "sign-out", "look-up"])
def test_forms_of_other_sites_are_refused(
    inside: Browser, service: Service, headers: dict[str, str], path: str
) -> None:
    fields = {"form_token": inside.form_token(), "paste": MD5, "token": OTHER}

    answer = inside.post(f"/page/{path}", headers=headers, **fields)

    assert answer.status_code == 403
    assert "sent by another site" in error_of(answer)
    assert service.asked == []
    assert "Signed in as <b>analyst</b>" in inside.get("/").text


@pytest.mark.parametrize("form_token", ["", "x", "ä", "a" * 43])
def test_a_form_without_the_sessions_own_token_is_refused(inside: Browser, service: Service, form_token: str) -> None:
    for path in ("look-up", "sign-out"):
        assert inside.post(f"/page/{path}", form_token=form_token, paste=MD5).status_code == 403
    assert service.asked == []


def test_what_cannot_be_looked_up_is_said_and_kept_in_the_form(inside: Browser, service: Service) -> None:
    answer = inside.look_up("what is <this>?")

    assert answer.status_code == 422
    assert error_of(answer).startswith('Neither a hash nor a process guid: "what is <this>?".')
    assert "what is &lt;this&gt;?</textarea>" in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert service.asked == []


def test_a_refusal_of_the_service_is_shown_with_its_status(inside: Browser, service: Service) -> None:
    service.refusal = ProblemError(429, "Too many look-ups. Wait 7 s.", headers={"Retry-After": "7"})

    answer = inside.look_up()

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert error_of(answer) == "Too many look-ups. Wait 7 s."
    assert MD5 in answer.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"x" * (3 * 2**20 + 5000), FORM, 413, id="huge"),
        (b"paste=%ff%fe", FORM, 400),
        ("paste=ä".encode(), FORM, 400),
        (b"&".join(b"f%d=1" % n for n in range(9)), FORM, 400),
        (b"{}", "application/json", 415),
        (b"--x", "multipart/form-data; boundary=x", 415),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_refused(inside: Browser, body: bytes, kind: str, status: int) -> None:
    headers = {**inside.own, "Content-Type": kind}

    for path in ("look-up", "sign-out"):
        answer = inside.session.post(f"{inside.url}/page/{path}", data=body, headers=headers, allow_redirects=False)
        assert answer.status_code == status
        assert error_of(answer)


def test_every_answer_forbids_what_the_page_does_not_need(inside: Browser) -> None:
    inside.look_up()
    assets = re.findall(r'(?:href|src)="(/page/static/[^"]+)"', inside.get("/").text)
    answers = [inside.get(path) for path in ("/", "/page/seen/1", "/page/seen/1/json", "/page/seen/2", *assets)]
    answers += [inside.look_up("?"), inside.post("/page/look-up")]
    inside.session.cookies.clear()
    answers.append(inside.get("/page/seen/1"))

    assert len(assets) == 4
    for answer in answers:
        told = {name: answer.headers.get(name) for name in PAGE_HEADERS}
        if "/static/" in answer.url:
            told["Cache-Control"] = "no-store"
        assert told == PAGE_HEADERS
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_page_needs_nothing_from_elsewhere_and_has_no_script_or_style_of_its_own(
    inside: Browser, service: Service
) -> None:
    service.answers = ("relatives", "two", "hostile-0", "hostile-8", "nothing")
    inside.look_up()

    for path in ("/", "/page/seen/1"):
        text = inside.get(path).text
        tags = re.findall(r"<(\w+)([^>]*)>", text)
        named = [re.sub(r'"[^"]*"', "", attributes) for _tag, attributes in tags]
        (script,) = [a for tag, a in tags if tag == "script"]
        assert re.fullmatch(r' src="/page/static/page[.]js[?]v=[0-9a-f]+" defer', script)
        assert not {tag for tag, _a in tags} & {"style", "iframe", "object", "embed", "base"}
        assert not [a for a in named if re.search(r"\s(style|on\w+)\b", a)]
        loaded = [a for tag, a in tags if tag in ("img", "link", "script")]
        assert all(re.search(r'(src|href)="/page/static/', a) for a in loaded)


def test_assets_hold_no_other_address_and_are_kept_by_the_browser(browser: Browser) -> None:
    page = browser.get("/").text
    for path in set(re.findall(r'"(/page/static/[^"]+)"', page)):
        answer = browser.get(path)

        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+|@import|url\(", answer.text) == []
    assert browser.get("/page/static/page.css.j2").status_code == 404
    assert browser.get("/page/static/..%2fviews.py").status_code == 404


def test_a_link_from_elsewhere_leads_on_for_who_is_signed_in(browser: Browser) -> None:
    answer = browser.get("/page/seen/7", headers={"Sec-Fetch-Site": "cross-site"})

    assert '<a href="/page/seen/7">go on from here</a>' in answer.text
    assert "go on from here" not in browser.get("/page/seen/7").text


def test_the_state_of_sources_is_told_in_words(inside: Browser, service: Service) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", inside.get("/").text)

    assert re.search(r"Answers\s+edr:cb.example.test\s+Carbon Black EDR 7.5.0.\s+2026-10-01 09:59:58", text)
    assert re.search(r"Does not answer\s+store:lab.db\s+The disk is full. Free some space.", text)
    assert re.search(r"Not asked yet\s+edr:second.example.test", text)
    service.states = ()
    assert "No source is configured" in inside.get("/").text


def test_the_page_stands_in_no_openapi_document(browser: Browser) -> None:
    assert browser.get("/openapi.json").json()["paths"] == {}


def test_the_service_token_is_on_no_page(inside: Browser) -> None:
    inside.look_up()

    for path in ("/", "/page/seen/1", "/page/seen/1/json", "/page/seen/1/markdown"):
        assert TOKEN not in inside.get(path).text


def test_over_the_real_service_a_pasted_hash_gives_the_card_and_the_api_is_seen(
    client: Client, procmon: dict[str, Any]
) -> None:
    own = Browser(client.url)
    own.sign_in(API_TOKEN)

    client.get("/readyz")
    client.post("/v1/alerts", procmon)
    answer = own.look_up()
    shown = own.get(answer.headers["Location"]).text
    nothing = own.look_up('{"colour": "blue"}')
    told = own.get(nothing.headers["Location"]).text if nothing.status_code == 303 else nothing.text
    own.session.close()

    assert answer.status_code == 303
    assert "Microsoft Corporation" in shown
    assert shown.count('href="/page/seen/') >= 4
    assert "procmon64.exe" in shown[shown.index('class="recent"') :]
    assert "Answers</b>" in shown
    assert "nothing to look up" in told
