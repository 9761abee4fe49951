"""From what an analyst pastes to the card that is shown."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.formats import parse_alert
from cbsigned_connectors.webhook.models import ProblemError
from cbsigned_connectors.webhook.paste import body_of
from cbsigned_connectors.webhook.recent import Recent, Seen
from cbsigned_connectors.webhook.sessions import Attempts, Session, Sessions
from cbsigned_connectors.webhook.views import SourceState, Views, markdown_of
from connectors.webhook.page_service import DOCUMENTS, NOW, Clock

MD5, OTHER_MD5 = "b0a3ecc9eaa2521ddea2fc067785b84e", "0123456789abcdef0123456789abcdef"
SHA1, SHA256 = "a1" * 20, "c3" * 32
GUID = "00000009-0000-082c-01d1-7f392625197c"
SYSMON = "{ad4b5c3e-0b0a-5ee4-0000-0010a4b5c3d2}"
VIEWS = Views()
SESSION = Session("analyst", "form-token", 0.0)


def seen(*names: str, total: int = 0) -> Seen:
    return Seen(7, "analyst", NOW, total or len(names), tuple(json.dumps(DOCUMENTS[name]).encode() for name in names))


def page(*names: str, **more: Any) -> str:
    return VIEWS.page(SESSION, [], [], seen=seen(*names), **more)


def text_of(source: str) -> str:
    """Return what a reader sees."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(source)
    return " ".join(" ".join(found).split())


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        (MD5, {"hash": MD5}),
        (f"  {MD5.upper()}\r\n", {"hash": MD5.upper()}),
        (f'"{SHA256}"', {"hash": SHA256}),
        (f"\ufeff<{SHA256}>,", {"hash": SHA256}),
        (GUID, {"process_guid": GUID}),
        (f"{GUID}-00000001", {"process_guid": f"{GUID}-00000001"}),
        (SYSMON, {"process_guid": SYSMON}),
        (f"{MD5}\n\n{GUID}", [{"hash": MD5}, {"process_guid": GUID}]),
        (f"{MD5}, {OTHER_MD5}; {SHA256}", [{"hash": MD5}, {"hash": OTHER_MD5}, {"hash": SHA256}]),
        (f"MD5={MD5},SHA256={SHA256},IMPHASH={OTHER_MD5}", {"hash": f"md5={MD5},sha256={SHA256}"}),
        (f"sha256: {SHA256}", {"hash": f"sha256={SHA256}"}),
        (SHA1, {"hash": SHA1}),
        (f"https://cb.example.test/#analyze/{GUID}/1", {"process_guid": GUID}),
        (f"https://cb.example.test/#/binary/{MD5.upper()}", {"hash": MD5.upper()}),
    ],
)
def test_hashes_and_guids_become_records(pasted: str, expected: Any) -> None:
    assert json.loads(body_of(pasted)) == expected


@pytest.mark.parametrize("pasted", [MD5, f'"{SHA256}"', f"MD5={MD5},SHA256={SHA256}", SHA1])
def test_a_record_is_read_as_the_file_that_was_pasted(pasted: str) -> None:
    (found,) = parse_alert(json.loads(body_of(pasted))).sets

    given = {"md5": found.md5, "sha1": found.sha1, "sha256": found.sha256}
    assert (
        {kind for kind, value in given.items() if value and value in pasted}
        == {kind for kind, value in given.items() if value}
        != set()
    )


@pytest.mark.parametrize("pasted", [GUID, f"{GUID}-00000001"])
def test_a_record_is_read_as_the_process_that_was_pasted(pasted: str) -> None:
    assert [s.process_guid for s in parse_alert(json.loads(body_of(pasted))).sets] == [GUID]


@pytest.mark.parametrize("pasted", ['{"md5": "x"}', ' \n[{"a": 1}]', '{"a": 1}\n{"a": 2}', "{not json", "\ufeff{}"])
def test_json_goes_on_as_it_is_for_the_reader_of_alerts(pasted: str) -> None:
    assert body_of(pasted).decode() == pasted.strip("\ufeff \n")


@pytest.mark.parametrize(
    ("pasted", "told"),
    [
        ("", "Nothing was pasted"),
        (" \r\n\t\ufeff", "Nothing was pasted"),
        ("procmon64.exe", 'Neither a hash nor a process guid: "procmon64.exe"'),
        (f"{MD5}\nC:\\temp\\a.exe", '"C:\\temp\\a.exe"'),
        (MD5[:-1], f'"{MD5[:-1]}"'),
        ("0" * 32, "Neither"),
        (f"{MD5} a.exe", "Neither"),
        (f"IMPHASH={MD5}", "Neither"),
        (f"SHA256={MD5}", "Neither"),
        ("\n".join("abcdef"), '"a", "b", "c", …'),
        ("\n".join(f"{n:032x}" for n in range(1, 202)), "201 values at once, 200 at most"),
        ("javascript:alert(1)", "Neither"),
        ("a\x1b[2Jb\u202e", '"a?[2Jb?"'),
    ],
)
def test_what_is_neither_is_refused_with_what_to_paste(pasted: str, told: str) -> None:
    with pytest.raises(ProblemError) as caught:
        body_of(pasted)

    assert caught.value.status == 422
    assert told in caught.value.detail


@given(st.text(max_size=300))
def test_whatever_is_pasted_is_a_body_or_a_refusal(pasted: str) -> None:
    with contextlib.suppress(ProblemError):
        assert body_of(pasted)


def test_a_card_tells_in_the_analysts_order() -> None:
    text = text_of(page("edr")[page("edr").index('id="result"') :])

    order = ("Signed — procmon64.exe", "the signature was accepted", "Publisher", "Evidence", "days old", "EDR process",
             "Lineage", "As text", "Ended here", "Counts", "seen on 3 hosts")  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_kind_of_answer_is_a_page_whose_elements_are_closed_in_order(name: str) -> None:
    class Reader(HTMLParser):
        open: list[str] = []  # noqa: RUF012 - one reader
        bad: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert not [key for key, _value in attrs if key.startswith("on") or key == "style"]
            assert tag not in ("style", "iframe", "object", "embed", "base", "foreignobject")
            if tag not in ("meta", "br", "img", "link", "input"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if not self.open or self.open.pop() != tag:
                self.bad.append(tag)

    reader = Reader()
    reader.feed(page(name, error=None))

    assert (reader.open, reader.bad) == ([], [])


def test_the_title_names_the_most_serious_alert_first() -> None:
    assert re.findall("<title>(.*?)</title>", page("signed", "unsigned", "unknown"))[0] == (
        "Unsigned: procmon64.exe (pid 10) on SDL-DEV and 2 more · cbsigned"
    )


def test_recent_answers_show_their_most_serious_alert_and_how_many_others() -> None:
    text = VIEWS.page(SESSION, [seen("signed", "expired", total=400)], [])

    listed = text_of(text[text.index('<ol class="recent"') :])
    assert listed.startswith("Expired procmon64.exe (pid 10) on SDL-DEV and 399 more 2026-10-01 09:59:58")


def test_alerts_that_are_not_shown_are_counted() -> None:
    one = seen("signed", total=9)

    assert "Shown are the first 1 of 9 alerts." in VIEWS.page(SESSION, [], [], seen=one)
    assert "Shown are the first 1 of 9 alerts." in markdown_of(one)
    assert "Shown are" not in page("signed") + markdown_of(seen("signed"))


def test_an_answer_that_was_read_earlier_says_so() -> None:
    stale = json.dumps({**DOCUMENTS["signed"], "stale": True}).encode()

    shown = VIEWS.page(SESSION, [], [], seen=Seen(1, "analyst", NOW, 1, (stale,)))

    assert "what stands here was read earlier" in text_of(shown)
    assert "read earlier" not in text_of(page("signed"))


def test_what_sources_and_senders_are_called_is_text() -> None:
    hostile = "<script>alert(1)</script>\u202e\x1b[2J"

    text = VIEWS.page(Session(hostile, "t", 0.0), [], [SourceState(hostile, False, hostile * 500)])

    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") > 3


def test_only_the_last_answers_of_each_sender_are_kept() -> None:
    recent = Recent(most_of_one=3, clock=lambda: NOW)

    numbers = [recent.add(sender, [b"{}"]) for sender in "aabaaab"]

    assert [s.number for s in recent.of("a")] == [numbers[5], numbers[4], numbers[3]]
    assert [s.number for s in recent.of("b")] == [numbers[6], numbers[2]]
    assert recent.get("a", numbers[0]) is None
    assert recent.get("b", numbers[5]) is None
    assert recent.of("c") == []


def test_all_answers_together_have_a_limit_and_the_newest_is_always_kept() -> None:
    recent = Recent(most_bytes=1000)

    for number in range(20):
        recent.add(f"sender{number % 4}", [b"x" * 300])
    recent.add("big", [b"x" * 5000])

    assert sum(len(recent.of(f"sender{n}")) for n in range(4)) == 0
    assert [s.size for s in recent.of("big")] == [5000]


def test_of_a_large_answer_the_first_alerts_are_kept() -> None:
    recent = Recent()

    many = recent.get("a", recent.add("a", [b"{}"] * 5000))
    long = recent.get("a", recent.add("a", [b"x" * 3_000_000, b"{}"]))
    told = recent.get("a", recent.add("a", [b"{}"], total=70))

    assert many is not None
    assert (len(many.bodies), many.total) == (100, 5000)
    assert long is not None
    assert (len(long.bodies), long.total) == (1, 2)
    assert told is not None
    assert told.total == 70


def test_times_are_when_it_was_answered() -> None:
    times = iter([NOW, NOW + timedelta(seconds=1)])
    recent = Recent(clock=lambda: next(times))

    recent.add("a", [b"{}"])
    recent.add("a", [b"{}"])

    assert [s.at.second for s in recent.of("a")] == [59, 58]


def test_sessions_are_forgotten_in_time_and_in_number() -> None:
    clock = Clock()
    sessions = Sessions(life_s=10, clock=clock)
    first = sessions.begin("a")
    later = [sessions.begin("b") for _ in range(1000)]

    assert sessions.of(first) is None
    assert sessions.of(later[0]) is not None
    clock.now += 10
    assert sessions.of(later[-1]) is None


def test_a_session_knows_its_own_forms_alone_and_shows_no_secret() -> None:
    sessions = Sessions()
    one, other = (sessions.of(sessions.begin("a")) for _ in range(2))

    assert one is not None
    assert other is not None
    assert one.owns(one.form_token)
    assert not one.owns(other.form_token)
    assert not one.owns("\ud800")
    assert one.form_token not in repr(one)


def test_failed_attempts_are_counted_by_address_and_forgotten() -> None:
    clock = Clock()
    attempts = Attempts(clock)

    for number in range(10):
        assert attempts.wait_s("192.0.2.1") == 0
        attempts.failed("192.0.2.1")
        clock.now += number * 0.1

    assert attempts.wait_s("192.0.2.1") == 56
    assert attempts.wait_s("192.0.2.2") == 0
    clock.now += 60
    assert attempts.wait_s("192.0.2.1") == 0
