"""Hostile bodies, headers, signatures and names, from the socket to the card: never a 500, never markup."""

from __future__ import annotations

import base64
import contextlib
import copy
import gzip
import hashlib
import hmac
import json
import logging
import random
import re
import socket
import time
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote, urlsplit

import pytest
import requests

from cbsigned.edr import connect
from cbsigned.formats import parse_mappings
from cbsigned.settings import EdrSettings
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
from cbsigned_connectors.webhook.senders import Scheme, Secret, Senders, SenderSettings
from connectors.webhook.flood import asked, flood, request_bytes
from connectors.webhook.serving import TOKEN, Served, serving
from edr_server import EdrServer
from shared.formats.examples import CASES, MD5
from shared.render.factory import HOSTILE

GUID = "00000007-0000-0d24-01d7-35e9bb340680"
HASHED = {f"{number:032x}": text for number, text in enumerate(HOSTILE, 1)}
BINARIES = [
    {
        "md5": md5.upper(), "digsig_result": "Signed", "digsig_publisher": text, "digsig_issuer": text,
        "digsig_subject": text, "digsig_prog_name": text, "observed_filename": [text],
    }
    for md5, text in HASHED.items()
]  # fmt: skip
KEY = b"whsec_" + base64.b64encode(b"k" * 32)
SECRET, PATH_TOKEN = b"secret-of-a-sender-1", "token-in-the-path-of-a-splunk"


def entry(name: str, scheme: Scheme, secret: bytes, **more: Any) -> SenderSettings:
    return SenderSettings(name, scheme, (Secret("a test", secret),), **more)


SENDERS = Senders([
    entry("bearer", Scheme.BEARER, TOKEN.encode(), burst=100_000),
    entry("soar", Scheme.STANDARD_WEBHOOKS, KEY),
    entry("git", Scheme.GITHUB, SECRET),
    entry("splunk", Scheme.PATH_TOKEN, PATH_TOKEN.encode()),
])  # fmt: skip
MAPPINGS = parse_mappings({"mine": {"md5": ["{{ 7*7 }}", "file"], "name": ["name"], "host": ["__class__", "host"]}})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("jobs") / "jobs.db"
    with (
        EdrServer(BINARIES) as edr,
        connect(EdrSettings(edr.url, edr.token)) as source,
        contextlib.closing(FileJobs(JobSettings(path, least_free_bytes=0))) as jobs,
        serving(source, cached=True, jobs=jobs, senders=SENDERS, mappings=MAPPINGS) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def _no_defect(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where a test left a traceback in the log, or a secret."""
    caplog.set_level(logging.INFO)
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    told = "".join(record.getMessage() + str(record.args) for record in caplog.records)
    for secret in (TOKEN, KEY.decode(), SECRET.decode(), PATH_TOKEN):
        assert secret not in told


def check_problem(answer: Any, status: int) -> None:
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["detail"]
    assert not re.search(r"Traceback|File \"|/cbsigned|\.py\b", answer.text)


# Bodies.


def nested_events(levels: int) -> dict[str, Any]:
    """Return CloudEvents within CloudEvents."""
    record: dict[str, Any] = {"md5": MD5}
    for number in range(levels):
        record = {"specversion": "1.0", "type": "t", "source": "/s", "id": str(number), "data": record}
    return record


def texts_in_texts(levels: int, name: str) -> dict[str, Any]:
    """Return JSON in a text in JSON, and so on; each level doubles the backslashes, so there are few."""
    record: dict[str, Any] = {"md5": MD5}
    for _ in range(levels):
        record = {name: json.dumps(record), "name": "n", "type": "t"}
    return record


CIRCLE = {
    "AlertType": "Odd", "WorkspaceId": "w", "Entities": [
        {"$id": "1", "Type": "process", "ProcessId": "1", "ParentProcess": {"$ref": "2"}, "ImageFile": {"$ref": "1"}},
        {"$id": "2", "Type": "process", "ProcessId": "2", "ParentProcess": {"$ref": "1"}, "Host": {"$ref": "2"}},
        {"$id": "3", "Type": "file", "FileHashes": [{"$ref": "3"}, {"$ref": "nowhere"}, {"$ref": {"$ref": "1"}}]},
        {"$id": "4", "Type": "filehash", "Algorithm": "MD5", "Value": MD5},
    ],
}  # fmt: skip
JSON, LINES = "application/json", "application/x-ndjson"
BODIES: dict[str, tuple[bytes, dict[str, str], tuple[int, ...]]] = {
    "nothing": (b"", {}, (400,)),
    "blanks": (b" \r\n\t" * 1000, {}, (400,)),
    "NULs": (b"\0" * 1000, {}, (400,)),
    "a NUL within": (b'{"md5": "\0"}', {}, (400,)),
    "an escaped NUL": (b'{"md5": "' + MD5.encode() + b'\\u0000", "host": "\\u0000"}', {}, (200,)),
    "a NUL in a name": (b'{"m\\u0000d5": 1, "md5": "' + MD5.encode() + b'"}', {}, (200,)),
    "deep lists": (b"[" * 500_000, {}, (400, 422)),
    "deep objects": (b'{"a":' * 150_000, {}, (400, 422)),
    "deep and closed": (b'{"a":' * 5000 + b"1" + b"}" * 5000, {}, (422,)),
    "deep in a text": (json.dumps({"_raw": "[" * 100_000, "md5": MD5}).encode(), {}, (200, 422)),
    "many values": (b"[" + b"0," * 500_000 + b"0]", {}, (413, 422)),
    "many alerts": (b"{}\n" * 10_001, {"Content-Type": LINES}, (413,)),
    "many empty alerts": (b"{}\n" * 9_000, {"Content-Type": LINES}, (422,)),
    "too large": (b'{"md5": "' + b"x" * 2**20 + b'"}', {}, (413,)),
    "a long name": (b'{"' + b"x" * 900_000 + b'": 1}', {}, (422,)),
    "a long number": (b'{"pid": ' + b"9" * 500_000 + b', "md5": "' + MD5.encode() + b'"}', {}, (200, 400)),
    "a number beyond floats": (b'{"pid": 1e999999, "md5": "' + MD5.encode() + b'"}', {}, (200,)),
    "no JSON numbers": (b'{"pid": NaN, "ppid": -Infinity, "md5": "' + MD5.encode() + b'"}', {}, (200,)),
    "half a character": (b'{"md5": "' + MD5.encode() + b'", "process_name": "\\ud800\\udfff\\ud800"}', {}, (200,)),
    "names twice": (b'{"md5": 1, "md5": "' + MD5.encode() + b'", "": "", "__proto__": {}}', {}, (200,)),
    "wrong UTF-8": (b'{"md5": "\xff\xfe\x80"}', {}, (200,)),
    "latin-1 called UTF-8": (
        b'{"user": "Zo\xeb", "md5": "' + MD5.encode() + b'"}', {"Content-Type": JSON + "; charset=utf-8"}, (200,),
    ),
    "UTF-16 without a mark": (json.dumps({"md5": MD5}).encode("utf-16-le"), {}, (200, 400)),
    "half of UTF-16": (
        json.dumps({"md5": MD5}).encode("utf-16")[:-1], {"Content-Type": JSON + "; charset=utf-16"}, (200, 400),
    ),
    "a charset that runs": (b"{}", {"Content-Type": JSON + "; charset=rot13"}, (415,)),
    "a charset that imports": (b"{}", {"Content-Type": JSON + "; charset=os.system"}, (415,)),
    "UTF-7": (b"+AHsAfQ-", {"Content-Type": JSON + "; charset=utf-7"}, (415,)),
    "zip bomb": (gzip.compress(bytes(500_000_000), 9)[: 2**20 - 1], {"Content-Encoding": "gzip"}, (413,)),
    "bomb without a word of it": (gzip.compress(b"[" * 50_000_000, 9), {}, (413,)),
    "bomb of deflate": (zlib.compress(b" " * 50_000_000, 9), {"Content-Encoding": "deflate"}, (413,)),
    "bomb in a bomb": (gzip.compress(gzip.compress(bytes(50_000_000), 9)), {"Content-Encoding": "gzip"}, (400,)),
    "packed twice": (gzip.compress(gzip.compress(b"{}")), {"Content-Encoding": "gzip, gzip"}, (415,)),
    "many packed parts": (gzip.compress(b"{}\n") * 1000, {"Content-Encoding": "gzip"}, (413,)),
    "packed and cut off": (gzip.compress(b'{"md5": "x"}')[:-9], {"Content-Encoding": "gzip"}, (400,)),
    "packed in no known way": (b"{}", {"Content-Encoding": "br"}, (415,)),
    "events in events": (json.dumps(nested_events(20)).encode(), {}, (200, 422)),
    "texts in texts": (json.dumps(texts_in_texts(12, "_raw")).encode(), {}, (200, 422)),
    "incidents in incidents": (json.dumps(texts_in_texts(12, "raw_json")).encode(), {}, (200, 422)),
    "entities in a circle": (json.dumps(CIRCLE).encode(), {}, (200,)),
    "an event that carries itself in base64": (
        json.dumps({**nested_events(1), "data": None, "data_base64": "=" * 100_000}).encode(), {}, (422,),
    ),
    "a form of many fields": (b"a=1&" * 100_000, {"Content-Type": "application/x-www-form-urlencoded"}, (413,)),
    "a form within a form": (
        b"payload=" + quote("payload=" + quote("{}")).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"}, (400, 422),
    ),
    "XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', {"Content-Type": "text/xml"}, (415,)),
    "YAML": (b"!!python/object/apply:os.system [id]", {}, (400,)),
    "a pickle": (b"\x80\x04\x95", {"Content-Type": "application/octet-stream"}, (400,)),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_has_an_answer(service: Served, name: str) -> None:
    body, headers, statuses = BODIES[name]

    answer = service.post("/v1/alerts", body, {"Content-Type": JSON, **headers})

    assert answer.status_code in statuses, answer.text[:500]
    if answer.status_code != 200:
        check_problem(answer, answer.status_code)
    else:
        json.loads(answer.content)


def test_a_body_that_never_ends_is_cut_off(service: Served) -> None:
    parts = urlsplit(service.url)
    head = request_bytes("/v1/alerts", b"", TOKEN).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with socket.create_connection((parts.hostname, parts.port), 30) as sock:
        sock.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                sock.sendall(b"10000\r\n" + b"[" * 0x10000 + b"\r\n")
        answer = sock.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 413")


LEAVES: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e300, "", "\0", "\ud800", "x" * 5000, [], {}, [[]], [{}], [None, [None]],
    {"$ref": "1"}, {"": {"": [{}]}}, "{" * 50, "[]", '{"a": [1]}', "{{ 7*7 }}", "../../etc/passwd", "0x" + "f" * 40,
    "9999-99-99T99:99:99Z", "-1e999", "0" * 32, "MD5=" + "=" * 50, "%s%n{0.__class__}",
)  # fmt: skip


def mutated(record: Any, draws: random.Random, share: float = 0.15) -> Any:
    """Return a record with some of its values replaced, whole branches included."""
    if draws.random() < share:
        return copy.deepcopy(draws.choice(LEAVES))
    if isinstance(record, dict):
        return {key: mutated(value, draws, share) for key, value in record.items()}
    if isinstance(record, list):
        return [mutated(item, draws, share) for item in record] * draws.choice((0, 1, 1, 2))
    return record


@pytest.mark.parametrize("each", [20, pytest.param(500, marks=pytest.mark.nightly)])
def test_formats_with_anything_in_place_of_anything_fail_one_by_one(service: Served, each: int) -> None:
    draws = random.Random(20_261_122)
    for case in CASES:
        records = [mutated(case.record, draws) for _ in range(each)]
        records = [record if isinstance(record, dict) else {"value": record} for record in records]
        body = "\n".join(json.dumps(record) for record in [*records, {"md5": MD5}]).encode()

        for path in ("/v1/alerts", f"/v1/alerts/{case.source}"):
            answer = service.post(path, body, {"Content-Type": LINES})

            assert answer.status_code in (200, 422), (case.name, answer.text[:300])
            if path == "/v1/alerts":
                assert answer.status_code == 200
                assert answer.json()["enrichments"][-1]["md5"] == MD5


# Paths, queries, headers.


@pytest.mark.parametrize(
    "path",
    [
        "/v1/alerts/{{7777*7777}}", "/v1/alerts/%00", "/v1/alerts/..%2f..%2fetc%2fpasswd", "/v1/alerts/%ff%fe",
        "/v1/jobs/%00", "/v1/alerts/" + "x" * 20_000, "/v1/alerts?mode=later", "/v1/alerts?format=%00",
        "/v1/alerts?card={{7777*7777}}",
        "/v1/alerts?mode=async&callback_url=file:///etc/passwd", "/v1/alerts?mode=async&callback_url=http://[",
        "/v1/alerts?mode=async&callback_url=http://169.254.169.254/", "/v1/alerts/splunk/x/y", "//v1/alerts",
        "/v1//alerts", "/v1/alerts?" + "a=1&" * 5_000,
    ],
    ids=lambda path: path[:40],
)  # fmt: skip
def test_a_hostile_address_is_refused(service: Served, path: str) -> None:
    reply = asked(service.url, request_bytes(path, b'{"md5": "%s"}' % MD5.encode(), TOKEN))

    assert 200 <= reply.status < 500
    assert b"root:" not in reply.body
    assert b"/etc/passwd" not in reply.body
    assert b"60481729" not in reply.body


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Length", "-1"), ("Content-Length", "abc"), ("Content-Length", "9" * 50), ("Authorization", "Bearer"),
        ("Authorization", "Basic ####"), ("Authorization", "Bearer " + "x" * 10_000), ("Authorization", "\xff\xfe"),
        ("Idempotency-Key", "k" * 5_000), ("Idempotency-Key", "\xff"), ("Content-Type", ";" * 3_000),
        ("Content-Type", "application/json; charset=" + "\xff" * 50), ("Accept", "," * 9_000),
        ("Accept", "text/html;q=" + "9" * 500), ("Prefer", "respond-async;" * 500), ("X-Request-Id", "a" * 5_000),
        ("ce-id", "\xff" * 100), ("Transfer-Encoding", "chunked, chunked"), ("Expect", "200-ok"), ("Host", ""),
        ("webhook-signature", "v1"), ("X-Forwarded-For", "\xff,,,"),
    ],
    ids=lambda header: f"{header[0]} {header[1][:10]!a}",
)  # fmt: skip
def test_a_hostile_header_has_an_answer(service: Served, header: tuple[str, str]) -> None:
    request = request_bytes("/v1/alerts", b'{"md5": "%s"}' % MD5.encode(), TOKEN, [header])

    reply = asked(service.url, request)

    assert 200 <= reply.status < 500
    assert service.post("/v1/alerts", {"md5": MD5}).status_code == 200  # and the next one is served


def test_two_ways_to_say_how_long_a_body_is_are_one_too_many(service: Served) -> None:
    """What a proxy and we read differently would be a request within a request."""
    request = request_bytes(
        "/v1/alerts", b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", TOKEN, [("Transfer-Encoding", "chunked")]
    )
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), 10) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


# Signatures.


def standard(body: bytes, message_id: str, at: Optional[float] = None, key: bytes = KEY) -> dict[str, str]:
    sent = f"{time.time() if at is None else at:.0f}"
    made = hmac.new(base64.b64decode(key[6:]), f"{message_id}.{sent}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(made).decode()
    return {"webhook-id": message_id, "webhook-timestamp": sent, "webhook-signature": signature, "Content-Type": JSON}


def github(body: bytes, key: bytes = SECRET) -> dict[str, str]:
    signature = hmac.new(key, body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": "sha256=" + signature, "Content-Type": JSON}


def signed(service: Served, body: bytes, headers: dict[str, str]) -> requests.Response:
    return service.session.post(service.url + "/v1/alerts", data=body, headers=headers)


BODY = json.dumps({"md5": next(iter(HASHED))}).encode()
OTHER_KEY = b"whsec_" + base64.b64encode(b"o" * 32)


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def cut(headers: dict[str, str], name: str, most: int) -> dict[str, str]:
    return {**headers, name: headers[name][:most]}


FORGED = {
    "another key": lambda: standard(BODY, "f1", key=OTHER_KEY),
    "another body": lambda: standard(BODY + b" ", "f2"),
    "another id": lambda: {**standard(BODY, "f3"), "webhook-id": "f4"},
    "another time": lambda: {**standard(BODY, "f5"), "webhook-timestamp": f"{time.time() - 60:.0f}"},
    "stale": lambda: standard(BODY, "f6", time.time() - 301),
    "of the future": lambda: standard(BODY, "f7", time.time() + 302),
    "cut off": lambda: cut(standard(BODY, "f8"), "webhook-signature", 20),
    "cut off by one": lambda: cut(standard(BODY, "f9"), "webhook-signature", -1),
    "no comma": lambda: {**standard(BODY, "f10"), "webhook-signature": "v1"},
    "empty": lambda: {**standard(BODY, "f11"), "webhook-signature": ""},
    "of another version": lambda: {**standard(BODY, "f12"), "webhook-signature": "v1a,AAAA v2,AAAA"},
    "many wrong ones": lambda: {**standard(BODY, "f13"), "webhook-signature": "v1,AAAA " * 500},
    "without a time": lambda: without(standard(BODY, "f14"), "webhook-timestamp"),
    "without an id": lambda: without(standard(BODY, "f15"), "webhook-id"),
    "GitHub, another key": lambda: github(BODY, b"not-the-secret-of-it"),
    "GitHub, another body": lambda: github(BODY + b"\n"),
    "GitHub, cut off": lambda: cut(github(BODY), "X-Hub-Signature-256", -2),
    "GitHub, SHA-1": lambda: {**github(BODY), "X-Hub-Signature-256": "sha1=" + "0" * 40},
    "nothing": lambda: {"Content-Type": JSON},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_or_broken_signature_is_401(service: Served, name: str) -> None:
    answer = signed(service, BODY, FORGED[name]())

    check_problem(answer, 401)
    assert "WWW-Authenticate" in answer.headers


def test_a_signature_is_of_the_bytes_that_were_sent(service: Served) -> None:
    packed = gzip.compress(BODY)

    before = signed(service, packed, {**standard(BODY, "g1"), "Content-Encoding": "gzip"})
    after = signed(service, packed, {**standard(packed, "g2"), "Content-Encoding": "gzip"})

    assert (before.status_code, after.status_code, after.json()["status"]) == (401, 200, "Signed")


def test_a_replay_gets_the_stored_answer_and_begins_nothing(service: Served) -> None:
    headers = standard(BODY, "r1")

    first, again = signed(service, BODY, headers), signed(service, BODY, headers)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content


def test_an_id_that_comes_again_with_another_body_is_409(service: Served) -> None:
    other = json.dumps({"md5": MD5, "alert_id": 2}).encode()

    first, again = signed(service, BODY, standard(BODY, "r2")), signed(service, other, standard(other, "r2"))

    assert first.status_code == 200
    check_problem(again, 409)


def test_a_token_in_the_path_is_the_only_one_that_counts_there(
    service: Served, caplog: pytest.LogCaptureFixture
) -> None:
    paths = {"right": PATH_TOKEN, "wrong": PATH_TOKEN[:-1], "long": PATH_TOKEN + "x", "of another": TOKEN}
    record = json.dumps({"sid": "s", "results_link": "https://s.example.test", "result": {"md5": MD5}}).encode()

    replies = {
        name: asked(service.url, request_bytes(f"/v1/alerts/splunk/{token}", record, None))
        for name, token in paths.items()
    }
    bearer = asked(service.url, request_bytes("/v1/alerts/splunk/not-the-token-at-all", record, TOKEN))

    assert {name: reply.status for name, reply in replies.items()} == {
        "right": 200, "wrong": 401, "long": 401, "of another": 401,
    }  # fmt: skip
    assert bearer.status == 401
    for reply in (*replies.values(), bearer):
        assert PATH_TOKEN.encode() not in reply.body
        assert PATH_TOKEN not in str(reply.headers)


# Names, from the alert and from the EDR, in cards.


class Tags(HTMLParser):
    """The start tags of a page with the names of their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _value in attrs if name != "title"))))

    def handle_data(self, data: str) -> None:
        self.words += data


def alert_with(text: str, md5: str) -> dict[str, Any]:
    return {
        "md5": md5, "process_name": text, "process_path": f"c:\\{text}", "cmdline": text, "host": text, "user": text,
        "alert_id": text, "title": text, "results_link": f"javascript:{text}", "process_guid": GUID,
    }  # fmt: skip


def card_of(service: Served, text: str, md5: str, kind: str) -> str:
    answer = service.post("/v1/alerts", alert_with(text, md5), {"Accept": kind})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    assert answer.headers["X-Content-Type-Options"] == "nosniff" or kind != "text/html"
    return str(answer.content.decode("utf-8"))


@pytest.mark.parametrize(("md5", "text"), HASHED.items(), ids=[f"{text!a}"[:20] for text in HOSTILE])
def test_names_from_the_alert_and_the_edr_become_no_markup(service: Served, md5: str, text: str) -> None:
    html, markdown = card_of(service, text, md5, "text/html"), card_of(service, text, md5, "text/markdown")

    names = {tag for tag, _attrs in Tags(html).tags}
    attributes = {name for _tag, attrs in Tags(html).tags for name in attrs}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "base", "link", "image", "use", "meta"}
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcdoc", "formaction")]
    assert not re.search(r"href\s*=\s*[\"']?\s*(javascript|data):", html, re.IGNORECASE)
    console = r"\]\(<https://127\.0\.0\.1:\d+/#(?:analyze|/binary)/[0-9a-zA-Z/-]+>\)"
    assert not re.search(r"<[a-zA-Z/!]|(?<!\\)\]\(", re.sub(console, "", markdown))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ufeff]", html + markdown)


def test_a_template_in_a_name_is_a_name(service: Served) -> None:
    text = "{{ 7*7 }}{% raw %}${x}"
    md5 = next(md5 for md5, own in HASHED.items() if own == text)

    html = Tags(card_of(service, text, md5, "text/html")).words
    plain = service.post("/v1/alerts?card=both", alert_with(text, md5)).json()

    assert text in html
    assert plain["subjects"][0]["name"] == text
    assert plain["subjects"][0]["signature"]["publisher"] == text
    for card in plain["card"].values():
        assert re.search(r"7\\?\*7", card)
        assert not re.search(r"\b49 ?\}?\{%|\b49\$", card)


def test_a_mapping_is_a_path_and_nothing_that_runs(service: Served) -> None:
    record = {"file": next(iter(HASHED)), "name": "{{ ''.__class__.__mro__ }}", "host": "{% for x in y %}"}

    answer = service.post("/v1/alerts/mine?card=both", record)

    subject = answer.json()["subjects"][0]
    assert answer.status_code == 200
    assert (subject["md5"], subject["name"], subject["host"]) == (record["file"], record["name"], record["host"])
    assert "class 'str'" not in answer.text


def test_many_hostile_requests_at_once_leave_the_service_whole(service: Served, tmp_path: Path) -> None:
    small = [(body, headers) for body, headers, _statuses in BODIES.values() if len(body) < 100_000]
    requests_ = [request_bytes("/v1/alerts", body, TOKEN, list(headers.items())) for body, headers in small] * 2

    replies = flood(service.url, requests_, 40)

    assert {reply.status for reply in replies} <= {200, 202, 400, 413, 415, 422}  # 202: the same event is under way
    assert service.get("/healthz").status_code == 200
    assert service.post("/v1/alerts", {"md5": next(iter(HASHED))}).json()["status"] == "Signed"
