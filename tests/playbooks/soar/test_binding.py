"""What the app does without the SDK, on every Python that the project knows."""

from __future__ import annotations

import json

from golden import CASES, DEEP_GUID, Edr, comparable, expected

from cbsigned_playbooks import soar


def test_the_webhook_answers_with_what_the_command_line_gives(edr: Edr) -> None:
    status, answer = soar.webhook(json.dumps(list(CASES.values())), edr.configuration)

    assert status == 200
    assert [expected(edr, name) for name in CASES] == [comparable(row) for row in answer["enrichments"]]
    assert answer["summary"]["asked"] == len(CASES)


def test_the_webhook_tells_what_the_sender_can_mend_from_what_he_cannot() -> None:
    nowhere = {"url": "http://127.0.0.1:9", "api_key": "0" * 40}

    assert soar.webhook("no JSON", nowhere)[0] == 400
    assert soar.webhook('{"md5": "%s"}' % ("fe" * 16), nowhere)[0] == 503
    assert soar.webhook('{"md5": "%s"}' % ("fe" * 16), {})[0] == 503


def test_the_widget_of_a_lineage_is_that_of_the_core(edr: Edr) -> None:
    outcome = soar.answer("process_lineage", {"guid": DEEP_GUID}, edr.configuration)

    shown = soar.widget("process_lineage", outcome.rows)

    assert shown["heading"] == "process lineage"
    assert str(shown["content"]) == outcome.html


def test_the_widget_of_alerts_is_that_of_the_core(edr: Edr) -> None:
    outcome = soar.answer("enrich_alert", {"alert": list(CASES.values())[-6:]}, edr.configuration)

    shown = soar.widget("enrich_alert", outcome.rows)

    assert str(shown["content"]) == outcome.html


def test_each_thing_that_was_tried_is_a_line_that_says_whether_it_works() -> None:
    told = [soar.told({"topic": "clock", "ok": ok, "text": "Why."}) for ok in (True, False, None)]

    assert told == ["clock: works. Why.", "clock: does not work. Why.", "clock: not known. Why."]
