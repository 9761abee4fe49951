"""How answers are written, and which status they have when something is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Optional

import jsonschema
import pytest

from cbsigned.enrichment import Caches, Enrichment, Sources, enrich
from cbsigned.errors import (
    SourceAuthError,
    SourceBusy,
    SourceError,
    SourceQueryError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)
from cbsigned.lineage import ProcessAnswers
from cbsigned.process import Process
from cbsigned.timing import Deadline
from cbsigned_connectors.webhook.answers import Wish, answer_of, documents_of, signatures_of, wish_of
from cbsigned_connectors.webhook.models import ProblemError
from recording import Recording, document, guid_of, md5_of

SCHEMA = json.loads((files("cbsigned") / "enrichment.schema.json").read_text("utf-8"))


def enriched(
    *records: dict[str, Any], failure: Optional[SourceError] = None, source: Optional[Recording] = None
) -> list[Enrichment]:
    asked = source or Recording({md5_of(1): [document(md5=md5_of(1), publisher="Example Corp")]})
    asked.failure = failure
    return list(enrich(records, Sources(asked, asked)))


def row(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"md5": md5_of(number), "process_name": "a.exe", **fields}


class TestWish:
    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            (None, "json"),
            ("", "json"),
            ("*/*", "json"),
            ("application/json", "json"),
            ("text/markdown", "markdown"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "html"),
            ("text/html;q=0.1, text/markdown;q=0.9", "markdown"),
            ("text/html;q=0, application/json", "json"),
            ("image/png, text/*", "markdown"),
        ],
    )
    def test_accept_is_negotiated(self, accept: Optional[str], kind: str) -> None:
        assert wish_of({}, accept).kind == kind

    def test_the_parameter_goes_before_the_header(self) -> None:
        assert wish_of({"format": "ocsf"}, "text/html") == Wish("ocsf")

    @pytest.mark.parametrize("accept", ["image/png", "text/html;q=0", "text/html;q=x", "text/html;q=7", ";;,"])
    def test_what_cannot_be_written_is_406(self, accept: str) -> None:
        with pytest.raises(ProblemError) as caught:
            wish_of({}, accept)

        assert caught.value.status == 406

    @pytest.mark.parametrize("query", [{"format": "xml"}, {"card": "pdf"}], ids=["format", "card"])
    def test_an_unknown_word_is_422_and_named(self, query: dict[str, str]) -> None:
        with pytest.raises(ProblemError) as caught:
            wish_of(query, None)

        assert (caught.value.status, caught.value.errors[0][0]) == (422, next(iter(query)))


class TestWriting:
    def test_json_is_the_published_schema_and_stale(self) -> None:
        written = json.loads(answer_of(Wish(), enriched(row()), False).body)

        assert written.pop("stale") is False
        jsonschema.validate(written, SCHEMA)

    def test_cards_stand_in_the_json_where_they_are_wanted(self) -> None:
        written = json.loads(answer_of(wish_of({"card": "both"}, None), enriched(row()), False).body)

        assert set(written["card"]) == {"markdown", "html"}
        assert "Example Corp" in written["card"]["markdown"]

    @pytest.mark.parametrize(
        ("kind", "media_type", "text"),
        [("markdown", "text/markdown; charset=utf-8", "Example Corp"), ("html", "text/html; charset=utf-8", "<style")],
    )
    def test_a_card_is_text(self, kind: str, media_type: str, text: str) -> None:
        answer = answer_of(Wish(kind), enriched(row()), False)

        assert answer.media_type == media_type
        assert text in answer.body.decode()

    def test_several_cards_have_one_style(self) -> None:
        assert answer_of(Wish("html"), enriched(row(), row()), True).body.count(b"<style") == 1

    def test_ocsf_and_ecs(self) -> None:
        ocsf = json.loads(answer_of(Wish("ocsf"), enriched(row()), False).body)
        ecs = json.loads(answer_of(Wish("ecs"), enriched(row()), True).body)

        assert ocsf["enrichments"][0]["value"] == md5_of(1)
        assert ecs["enrichments"][0]["process"]["hash"]["md5"] == md5_of(1)

    def test_half_a_character_in_an_alert_ends_nothing(self) -> None:
        found = enriched(row(process_name="a\ud800.exe", search_name="\udfff"))

        for kind in ("json", "markdown", "html", "ocsf", "ecs"):
            assert answer_of(Wish(kind), found, True).body

    def test_what_is_told_is_kept_for_counters_and_page(self) -> None:
        told = answer_of(Wish("markdown"), enriched(row(), row(2)), True).told

        assert told is not None
        assert told.statuses == ("Signed", "Unknown")
        assert "not found" in told.causes
        assert [json.loads(body)["md5"] for body in told.bodies] == [md5_of(1), md5_of(2)]
        assert told.complete


def refusal(found: Sequence[Enrichment], many: bool = False, **options: Any) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        answer_of(Wish(), found, many, **options)
    return caught.value


class TestStatus:
    @pytest.mark.parametrize(
        ("failure", "status"),
        [
            (SourceUnavailable("down"), 502),
            (SourceAuthError("token refused"), 502),
            (SourceResponseError("HTML, not JSON"), 502),
            (SourceQueryError("blocked"), 502),
            (SourceBusy("429"), 503),
        ],
        ids=["down", "refused", "html", "blocked", "throttled"],
    )
    def test_a_source_that_cannot_be_asked_is_an_error_that_says_why(self, failure: SourceError, status: int) -> None:
        error = refusal(enriched(row(), failure=failure))

        assert (error.status, error.headers["Retry-After"]) == (status, "30")
        assert error.detail == str(failure)

    def test_a_slow_source_is_an_answer_with_reasons(self) -> None:
        answer = answer_of(Wish(), enriched(row(), failure=SourceTimeout("no answer within 10 s")), False)

        written = json.loads(answer.body)
        assert (answer.status, written["complete"], written["status"]) == (200, False, "Unknown")
        assert written["gaps"][0]["reason"] == "no answer within 10 s"

    def test_with_one_answer_the_batch_is_answered(self) -> None:
        class Half(Recording):
            def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
                return dict.fromkeys(guids, SourceUnavailable("down"))

        source = Half({md5_of(1): [document(md5=md5_of(1))]}, [Process(guid_of(1))])

        answer = answer_of(Wish(), enriched(row(), {"process_guid": guid_of(1)}, source=source), True)

        known, unknown = json.loads(answer.body)["enrichments"]
        assert (known["status"], known["complete"]) == ("Signed", True)
        assert (unknown["status"], unknown["complete"]) == ("Unknown", False)

    def test_what_was_read_before_the_source_went_down_is_stale(self) -> None:
        source = Recording({md5_of(1): [document(md5=md5_of(1))]}, [Process(guid_of(1), md5=md5_of(1))])
        sources = Sources(source, source, caches=Caches())
        list(enrich([row()], sources))
        source.failure = SourceUnavailable("down")

        (found,) = documents_of(list(enrich([row(process_guid=guid_of(1))], sources)))

        assert (found["status"], found["complete"], found["stale"]) == ("Signed", False, True)

    def test_nothing_to_look_up_is_422(self) -> None:
        error = refusal(enriched({"a": 1}))

        assert error.status == 422
        assert "nothing to look up" in error.detail

    def test_in_a_list_each_alert_has_its_place(self) -> None:
        assert [path for path, _reason in refusal(enriched({"a": 1}, {"b": 1}), True).errors] == ["[0]", "[1]"]

    def test_an_alert_passed_over_on_purpose_is_no_error(self) -> None:
        assert answer_of(Wish(), enriched({"a": 1}), False, ignored=True).status == 200

    def test_an_empty_list_is_answered_with_one(self) -> None:
        assert answer_of(Wish(), [], True).body == b'{"enrichments":[]}'


class TestSignatures:
    def test_each_hash_has_its_row(self) -> None:
        asked = [md5_of(1).upper(), "nonsense", md5_of(2)]

        written = json.loads(signatures_of(asked, enriched(*({"hash": text} for text in asked))).body)

        assert [(r["asked"], r["status"], r["cause"]) for r in written["signatures"]] == [
            (md5_of(1).upper(), "Signed", "record"),
            ("nonsense", "Unknown", "bad observable"),
            (md5_of(2), "Unknown", "not found"),
        ]
        assert (written["complete"], written["stale"]) == (True, False)

    def test_a_source_that_is_down_is_502(self) -> None:
        with pytest.raises(ProblemError) as caught:
            signatures_of([md5_of(1)], enriched({"hash": md5_of(1)}, failure=SourceUnavailable("down")))

        assert caught.value.status == 502
