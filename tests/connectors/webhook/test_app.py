"""The addresses of the responder, over real HTTP."""

from __future__ import annotations

import gzip
import json
import re
import time
from typing import Any

import pytest

from cbsigned.formats import parse_mappings
from cbsigned_connectors.webhook.credentials import Scheme, Secret, SenderSettings
from cbsigned_connectors.webhook.limits import BodyLimits
from cbsigned_connectors.webhook.senders import Senders
from connectors.webhook.serving import ALERT, TOKEN, Client, over_edr, serving
from edr_server import LOGIN_PAGE, EdrServer, Fault
from recording import Recording, document, md5_of

PATH_TOKEN = "path-token-0123456789abcdef"


class TestAlerts:
    def test_one_alert_comes_back_as_one_enrichment(self, client: Client, procmon: dict[str, Any]) -> None:
        answer = client.post("/v1/alerts", procmon)

        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json()["status"] == "Signed"
        assert [node["name"] for node in answer.json()["subjects"][0]["lineage"]["nodes"]][-1] == "system"

    def test_a_list_comes_back_as_a_list_in_order(self, client: Client, sample_alerts: list[dict[str, Any]]) -> None:
        answer = client.post("/v1/alerts", sample_alerts).json()

        single = [client.post("/v1/alerts", alert).json().get("md5") for alert in sample_alerts[:5]]
        assert len(answer["enrichments"]) == len(sample_alerts)
        assert [enrichment["md5"] for enrichment in answer["enrichments"][:5]] == single

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (json.dumps([ALERT]).encode(), "application/json"),
            (b" \n" + json.dumps([ALERT]).encode(), ""),
            (gzip.compress(json.dumps([ALERT]).encode()), "application/json"),
            (json.dumps(ALERT).encode(), "application/x-ndjson"),
            (json.dumps(ALERT).encode() + b"\n" + json.dumps(ALERT).encode(), "application/json"),
        ],
        ids=["array", "no type", "gzip", "one line", "two lines"],
    )
    def test_the_shape_of_the_body_decides_on_the_shape_of_the_answer(
        self, client: Client, body: bytes, kind: str
    ) -> None:
        assert list(client.post("/v1/alerts", body, {"Content-Type": kind}).json()) == ["enrichments"]

    def test_a_format_can_be_named(self, client: Client) -> None:
        answer = client.post("/v1/alerts/row", ALERT)

        assert answer.json()["alert"]["format"] == "row"

    def test_a_format_that_is_not_there_is_404_and_lists_those_that_are(self, client: Client) -> None:
        answer = client.post("/v1/alerts/nonsense", ALERT)

        assert answer.status_code == client.post("/v1/alerts/nonsense", []).status_code == 404
        assert "carbon-black" in answer.json()["detail"]

    def test_a_mapping_of_the_users_is_applied(self) -> None:
        mappings = parse_mappings({"my_siem": {"md5": ["event.FileMD5"]}})
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, mappings=mappings) as client:
            answer = client.post("/v1/alerts/my_siem", {"event": {"FileMD5": md5_of(1), "MD5": md5_of(2)}}).json()

        assert answer["md5"] == md5_of(1)

    @pytest.mark.parametrize(
        ("body", "kind", "status"),
        [
            (b"{", "application/json", 400),
            (b"", "application/json", 400),
            (b"{}", "image/png", 415),
            (b"5", "application/json", 422),
            (b'{"imphash": "0f343b0931126a20f133d67c2b018a3b"}', "application/json", 422),
            (gzip.compress(b" " * 30_000_000), "application/json", 413),
            (b"[" * 100_000, "application/json", 422),
            (b"\x1f\x8b\x08broken", "application/json", 400),
        ],
        ids=["cut", "empty", "picture", "number", "look-alike", "bomb", "nested", "no gzip"],
    )
    def test_a_body_that_holds_no_alert_is_refused_with_the_reason(
        self, client: Client, body: bytes, kind: str, status: int
    ) -> None:
        answer = client.post("/v1/alerts", body, {"Content-Type": kind})

        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["detail"]

    def test_a_body_over_the_limit_is_refused(self) -> None:
        with serving(Recording(), bodies=BodyLimits(max_bytes=1000)) as client:
            assert client.post("/v1/alerts", b" " * 1001).status_code == 413

    def test_formats_of_answers(self, client: Client, procmon: dict[str, Any]) -> None:
        kinds = {
            accept: client.post("/v1/alerts", procmon, {"Accept": accept}).headers["Content-Type"]
            for accept in ("text/markdown", "text/html", "application/json")
        }

        assert [kind.split(";")[0] for kind in kinds.values()] == list(kinds)
        assert "enrichments" in client.post("/v1/alerts?format=ocsf", procmon).json()
        assert "card" in client.post("/v1/alerts?card=markdown", procmon).json()

    def test_an_ocsf_event_comes_back_with_what_was_found_out(self) -> None:
        file = {"name": "a.exe", "hashes": [{"algorithm_id": 1, "value": md5_of(1)}]}
        event = {"class_uid": 2004, "metadata": {"version": "1.5.0", "uid": "7"}, "message": "as it came",
                 "evidences": [{"process": {"file": file}}]}  # fmt: skip

        with serving(Recording({md5_of(1): [document(md5=md5_of(1))]})) as client:
            found = client.post("/v1/alerts?format=ocsf", [event, ALERT]).json()["enrichments"]

        assert {name: found[0][name] for name in ("class_uid", "metadata", "message")} == {
            name: event[name] for name in ("class_uid", "metadata", "message")
        }
        assert found[0]["evidences"][0]["process"]["file"]["signature"]["state"] == "Valid"
        assert found[0]["enrichments"][0]["value"] == md5_of(1)
        assert list(found[1]) == ["enrichments"]


class TestQuestions:
    def test_files_by_hash(self, client: Client, procmon: dict[str, Any]) -> None:
        md5 = client.post("/v1/alerts", procmon).json()["md5"]

        answer = client.post("/v1/signed", {"hashes": [md5, md5_of(1)]}).json()

        assert [row["status"] for row in answer["signatures"]] == ["Signed", "Unknown"]

    def test_a_process_by_guid_and_by_host_and_pid(self, client: Client, procmon: dict[str, Any]) -> None:
        known = client.post("/v1/alerts", procmon).json()["subjects"][0]
        asked = {"host": known["host"], "pid": known["pid"], "time": known["started_at"]}

        by_guid = client.post("/v1/lineage", {"guid": known["process_guid"]}).json()["subjects"][0]
        by_pid = client.post("/v1/lineage", asked).json()["subjects"][0]

        assert by_guid["lineage"] == by_pid["lineage"] == known["lineage"]

    def test_a_question_that_cannot_be_read_names_the_place(self, client: Client) -> None:
        answer = client.post("/v1/signed", {"hashes": "x"})

        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "hashes")


class TestWho:
    def test_nobody_is_let_in_without_the_token(self, client: Client, procmon: dict[str, Any]) -> None:
        answer = Client(client.url, client.session, None).post("/v1/alerts", procmon)

        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="cbsigned"')
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/v1/signed"), ("POST", "/v1/lineage"), ("GET", "/v1/jobs/x")]
    )
    def test_questions_and_jobs_are_guarded_too(self, client: Client, method: str, path: str) -> None:
        assert client.session.request(method, client.url + path, json={"hashes": ["x"]}).status_code == 401

    def test_a_token_in_the_path_is_enough_where_it_is_a_senders_scheme(self) -> None:
        senders = Senders([SenderSettings("splunk", Scheme.PATH_TOKEN, (Secret("x", PATH_TOKEN.encode()),))])
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, senders=senders) as client:
            nobody = Client(client.url, client.session, None)
            answers = [nobody.post(f"/v1/alerts/row/{token}", ALERT) for token in (PATH_TOKEN, "x" * 27)]
            told = nobody.get("/metrics").text

        assert [answer.status_code for answer in answers] == [200, 401]
        assert 'route="/v1/alerts/{source}/{token}",status="200"' in told
        assert PATH_TOKEN not in told

    def test_a_sender_that_sends_too_much_is_told_when_to_come_again(self) -> None:
        slow = SenderSettings("slow", Scheme.BEARER, (Secret("x", TOKEN.encode()),), per_minute=1, burst=2)

        with serving(Recording(), senders=Senders([slow])) as client:
            answers = [client.post("/v1/alerts", ALERT) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60

    def test_the_page_takes_from_the_senders_rate_and_says_when_there_is_none(self) -> None:
        slow = SenderSettings("slow", Scheme.BEARER, (Secret("x", TOKEN.encode()),), per_minute=1, burst=2)

        with serving(Recording(), senders=Senders([slow])) as client:
            page = client.session.post(client.url + "/page/sign-in", data={"token": TOKEN}).text
            form = {"form_token": re.findall(r'name="form_token" value="([^"]+)"', page)[0], "paste": md5_of(1)}
            looked_up = [client.session.post(client.url + "/page/look-up", data=form) for _ in range(3)]
            posted = client.post("/v1/alerts", ALERT)

        assert [answer.status_code for answer in (*looked_up, posted)] == [200, 200, 429, 429]
        assert "slow has made as many requests as it may for now. Try again in" in looked_up[-1].text
        assert md5_of(1) in looked_up[-1].text  # need not be pasted again
        assert int(looked_up[-1].headers["Retry-After"]) <= 60

    def test_a_senders_own_body_limit_holds(self) -> None:
        small = SenderSettings("small", Scheme.BEARER, (Secret("x", TOKEN.encode()),), max_body_bytes=50)

        with serving(Recording(), senders=Senders([small])) as client:
            assert client.post("/v1/alerts", {**ALERT, "more": "x" * 50}).status_code == 413


class TestSource:
    """The EDR fails in every way, and callers get what alert-formats §7 says, within the deadline."""

    @pytest.mark.parametrize(
        ("fault", "status", "again_s"),
        [
            (Fault(status=502), 502, "30"),
            (Fault(status=401), 502, "30"),
            (Fault(body=LOGIN_PAGE), 502, "30"),
            (Fault(body=b'{"results": [{"md5": "', kind="application/json", mode="cut"), 502, "30"),
            (Fault(mode="close"), 502, "30"),
            (Fault(status=429, headers={"Retry-After": "12"}), 503, "30"),
            (Fault(status=429, headers={"Retry-After": "120"}), 503, "120"),
            (Fault(status=503, headers={"Retry-After": "999999999"}), 503, "86400"),
        ],
        ids=["down", "refused", "login page", "half an answer", "hangs up", "throttles", "for long", "for ever"],
    )
    def test_nothing_known_is_502_or_503_and_recovery_is_automatic(
        self, edr: EdrServer, fault: Fault, status: int, again_s: str
    ) -> None:
        with over_edr(edr) as served:
            edr.fail("binary", fault)
            failed = served.post("/v1/alerts", ALERT)
            edr.heal()
            healed = served.post("/v1/alerts", ALERT)

        assert (failed.status_code, failed.headers["Retry-After"]) == (status, again_s)
        assert (healed.status_code, healed.json()["status"]) == (200, "Signed")

    def test_what_is_cached_is_answered_while_the_edr_is_down(self, edr: EdrServer) -> None:
        with over_edr(edr) as served:
            served.post("/v1/alerts", ALERT)
            edr.fail("binary", Fault(status=502))
            edr.fail("process", Fault(status=502))
            alone = served.post("/v1/alerts", {**ALERT, "alert_id": "4712"})
            more = served.post(
                "/v1/alerts", {**ALERT, "dest": "WS01", "pid": 4711, "start_time": "2026-10-01T09:59:58Z"}
            )

        assert (alone.status_code, alone.json()["complete"], alone.json()["stale"]) == (200, True, False)
        assert (more.status_code, more.json()["complete"], more.json()["stale"]) == (200, False, True)
        assert more.json()["status"] == "Signed"

    def test_an_edr_that_never_answers_is_waited_for_until_the_deadline(self, edr: EdrServer) -> None:
        with over_edr(edr, deadline_s=0.6) as served:
            edr.fail("binary", Fault(mode="silent"))
            began = time.monotonic()
            answer = served.post("/v1/alerts", ALERT)
            took = time.monotonic() - began
            edr.stopping.set()

        assert (answer.status_code, answer.json()["complete"]) == (200, False)
        assert "within" in answer.json()["gaps"][0]["reason"]
        assert "async" not in answer.text  # there are no jobs
        assert took < 3


class TestAround:
    def test_cloud_events_senders_are_answered_before_they_send(self, client: Client) -> None:
        answer = client.session.options(
            client.url + "/v1/alerts",
            headers={"WebHook-Request-Origin": "siem.example.test", "WebHook-Request-Rate": "120"},
        )

        assert (answer.status_code, answer.headers["WebHook-Allowed-Origin"]) == (200, "siem.example.test")
        assert answer.headers["WebHook-Allowed-Rate"] == "*"
        bad = client.session.options(client.url + "/v1/alerts", headers={"WebHook-Request-Origin": "a b"})
        assert bad.status_code == 400

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/v1/alerts", 405)], ids=["404", "405"]
    )
    def test_errors_of_routing_are_problems_too(self, client: Client, method: str, path: str, status: int) -> None:
        answer = client.session.request(method, client.url + path)

        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["instance"] == f"urn:cbsigned:request:{answer.headers['X-Request-Id']}"

    def test_a_method_that_is_not_taken_is_told_which_is(self, client: Client) -> None:
        assert "does not take GET. Use OPTIONS, POST." in client.get("/v1/alerts").json()["detail"].replace(
            "POST, OPTIONS", "OPTIONS, POST"
        )

    def test_what_a_store_answered_is_known_to_the_page_and_the_counters(self) -> None:
        with serving(Recording()) as client:
            client.post("/v1/alerts", ALERT)
            counted = client.get("/metrics").text

        assert client.parts is not None
        assert client.parts.health.source().works
        assert 'cbsigned_source_questions_total{outcome="answered",question="binaries"} 1.0' in counted

    def test_a_request_id_is_taken_over_where_it_is_one(self, client: Client) -> None:
        ids = [
            client.session.get(client.url + "/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
            for given in ("trace-0123456789", "<script>alert(1)</script>")
        ]

        assert ids[0] == "trace-0123456789"
        assert len(ids[1]) == 16

    def test_a_card_may_run_nothing(self, client: Client, procmon: dict[str, Any]) -> None:
        headers = client.post("/v1/alerts?format=html", procmon).headers

        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"

    def test_health_metrics_and_the_page_answer_without_a_token(self, client: Client) -> None:
        nobody = Client(client.url, client.session, None)

        assert [nobody.get(path).status_code for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/")] == [
            200
        ] * 5

    def test_a_defect_is_a_500_without_its_details(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Recording):
            def binaries(self, hashes: Any, deadline: Any) -> Any:
                raise ZeroDivisionError("secret detail")

        with serving(Broken()) as client:
            answer = client.post("/v1/alerts", ALERT)

        assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
        assert "secret detail" not in answer.text
        assert "this is a defect of cbsigned" in caplog.text
