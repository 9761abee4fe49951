"""The addresses of the responder, over real HTTP."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cbsigned.edr import connect
from cbsigned.formats import parse_mappings
from cbsigned.settings import EdrSettings
from cbsigned_connectors.webhook.credentials import Scheme, Secret, SenderSettings
from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
from cbsigned_connectors.webhook.limits import BodyLimits
from cbsigned_connectors.webhook.senders import Senders
from connectors.webhook.serving import TOKEN, Client, serving
from edr_server import LOGIN_PAGE, EdrServer, Fault
from recording import Recording, document, md5_of

PATH_TOKEN = "path-token-0123456789abcdef"
ALERT = {"md5": md5_of(1), "process_name": "a.exe", "alert_id": "4711"}


def over_edr(server: EdrServer, **parts: Any) -> Any:
    """Serve over an EDR server of ours; one retry fewer than usual, so that faults are quick."""
    stack = contextlib.ExitStack()
    edr = stack.enter_context(connect(EdrSettings(server.url, server.token, retries=0, timeout_s=2)))
    client = stack.enter_context(serving(edr, cached=True, **parts))
    return contextlib.closing(_Closing(client, stack))


class _Closing:
    def __init__(self, client: Client, stack: contextlib.ExitStack) -> None:
        self.client, self.close = client, stack.close


@pytest.fixture
def edr() -> Iterator[EdrServer]:
    binaries = [{"md5": md5_of(n).upper(), "digsig_result": "Signed"} for n in range(20)]
    with EdrServer(binaries) as server:
        yield server


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
            failed = served.client.post("/v1/alerts", ALERT)
            edr.heal()
            healed = served.client.post("/v1/alerts", ALERT)

        assert (failed.status_code, failed.headers["Retry-After"]) == (status, again_s)
        assert (healed.status_code, healed.json()["status"]) == (200, "Signed")

    def test_what_is_cached_is_answered_while_the_edr_is_down(self, edr: EdrServer) -> None:
        with over_edr(edr) as served:
            served.client.post("/v1/alerts", ALERT)
            edr.fail("binary", Fault(status=502))
            edr.fail("process", Fault(status=502))
            alone = served.client.post("/v1/alerts", {**ALERT, "alert_id": "4712"})
            more = served.client.post(
                "/v1/alerts", {**ALERT, "dest": "WS01", "pid": 4711, "start_time": "2026-10-01T09:59:58Z"}
            )

        assert (alone.status_code, alone.json()["complete"], alone.json()["stale"]) == (200, True, False)
        assert (more.status_code, more.json()["complete"], more.json()["stale"]) == (200, False, True)
        assert more.json()["status"] == "Signed"

    def test_an_edr_that_never_answers_is_waited_for_until_the_deadline(self, edr: EdrServer) -> None:
        with over_edr(edr, deadline_s=0.6) as served:
            edr.fail("binary", Fault(mode="silent"))
            began = time.monotonic()
            answer = served.client.post("/v1/alerts", ALERT)
            took = time.monotonic() - began
            edr.stopping.set()

        assert (answer.status_code, answer.json()["complete"]) == (200, False)
        assert "within" in answer.json()["gaps"][0]["reason"]
        assert "async" not in answer.text  # there are no jobs
        assert took < 3


class TestLater:
    @pytest.fixture
    def jobs(self, tmp_path: Path) -> Iterator[FileJobs]:
        with contextlib.closing(FileJobs(JobSettings(tmp_path / "jobs.db", least_free_bytes=0))) as ready:
            yield ready

    def wait(self, client: Client, path: str) -> Any:
        end = time.monotonic() + 10
        while True:
            answer = client.get(path)
            if answer.status_code != 202 or time.monotonic() > end:
                return answer
            time.sleep(0.01)

    @pytest.mark.parametrize(
        ("path", "headers"),
        [("/v1/alerts?mode=async", {}), ("/v1/alerts", {"Prefer": "wait=5, respond-async"})],
        ids=["mode", "prefer"],
    )
    def test_an_accepted_job_is_answered_at_its_address(
        self, jobs: FileJobs, path: str, headers: dict[str, str]
    ) -> None:
        with serving(Recording({md5_of(1): [document(md5=md5_of(1))]}), jobs=jobs) as client:
            accepted = client.post(path, ALERT, headers)
            answer = self.wait(client, accepted.headers["Location"])

        assert (accepted.status_code, accepted.json()["status_url"]) == (202, accepted.headers["Location"])
        assert int(accepted.headers["Retry-After"]) > 0
        assert (answer.status_code, answer.json()["status"]) == (200, "Signed")

    def test_who_has_no_time_is_told_of_jobs_and_a_job_is_not(self, edr: EdrServer, jobs: FileJobs) -> None:
        with over_edr(edr, deadline_s=0.4, job_deadline_s=0.4, jobs=jobs) as served:
            edr.fail("binary", Fault(mode="silent"))
            accepted = served.client.post("/v1/alerts?mode=async", ALERT)
            at_once = served.client.post("/v1/alerts", ALERT).json()
            later = self.wait(served.client, accepted.headers["Location"]).json()
            edr.stopping.set()

        reasons = [found["gaps"][0]["reason"] for found in (at_once, later)]
        assert all("within" in reason for reason in reasons)
        assert ["mode=async or Prefer: respond-async" in reason for reason in reasons] == [True, False]

    def test_the_same_alert_again_is_the_same_job(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            first = client.post("/v1/alerts?mode=async", ALERT)
            done = self.wait(client, first.headers["Location"])
            again = client.post("/v1/alerts?mode=async", ALERT)

        assert (again.status_code, again.json()) == (200, done.json())

    def test_anothers_job_is_not_there(self, jobs: FileJobs) -> None:
        both = [SenderSettings(n, Scheme.BEARER, (Secret("x", (n * 20).encode()),)) for n in ("a", "b")]

        with serving(Recording(), jobs=jobs, senders=Senders(both)) as client:
            first = replace(client, token="a" * 20)
            place = first.post("/v1/alerts?mode=async", ALERT).headers["Location"]
            foreign = replace(client, token="b" * 20).get(place)

        assert foreign.status_code == 404

    def test_what_can_never_be_answered_is_not_accepted(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            assert client.post("/v1/alerts?mode=async", {"a": 1}).status_code == 422
            assert client.post("/v1/alerts/nonsense?mode=async", ALERT).status_code == 404
            assert client.post("/v1/alerts?mode=later", ALERT).status_code == 422

    def test_a_callback_that_is_not_allowed_is_refused(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            answer = client.post("/v1/alerts?mode=async&callback_url=http://169.254.169.254/", ALERT)

        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "callback_url")

    def test_a_callback_without_a_job_is_refused_and_not_forgotten(self, jobs: FileJobs) -> None:
        with serving(Recording(), jobs=jobs) as client:
            answer = client.post("/v1/alerts?callback_url=https://soar.example.test/", ALERT)

        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "callback_url")

    def test_a_disk_that_is_full_accepts_nothing_and_says_so(self, tmp_path: Path) -> None:
        full = FileJobs(JobSettings(tmp_path / "jobs.db"), free_bytes=lambda _folder: 0)

        with contextlib.closing(full), serving(Recording(), jobs=full) as client:
            refused, ready = client.post("/v1/alerts?mode=async", ALERT), client.get("/readyz")
            now = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})

        assert refused.status_code == ready.status_code == 503
        assert "Retry-After" in refused.headers
        assert [part["name"] for part in ready.json()["parts"] if not part["ok"]] == ["jobs"]
        assert now.status_code == 200

    def test_without_a_store_of_jobs_nothing_is_accepted(self) -> None:
        with serving(Recording()) as client:
            assert client.post("/v1/alerts?mode=async", ALERT).status_code == 503

    def test_a_key_gives_its_stored_answer(self, jobs: FileJobs) -> None:
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, jobs=jobs) as client:
            first = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            source.records.clear()
            again = client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            other = client.post("/v1/alerts", {**ALERT, "md5": md5_of(2)}, {"Idempotency-Key": "k"})

        assert first.content == again.content
        assert other.status_code == 409

    def test_an_answer_that_lacks_something_is_not_kept_under_its_key(self, edr: EdrServer, jobs: FileJobs) -> None:
        with over_edr(edr, jobs=jobs) as served:
            edr.fail("binary", Fault(status=502))
            failed = served.client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})
            edr.heal()
            healed = served.client.post("/v1/alerts", ALERT, {"Idempotency-Key": "k"})

        assert (failed.status_code, healed.status_code, healed.json()["status"]) == (502, 200, "Signed")

    def test_the_same_body_again_gets_the_same_answer_for_a_while(self) -> None:
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source, cached=True) as client:
            first, again = client.post("/v1/alerts", ALERT), client.post("/v1/alerts", ALERT)
            other = client.post("/v1/alerts?card=markdown", ALERT)

        assert first.content == again.content  # to the millisecond in which it was asked
        assert other.json()["enriched_at"] != first.json()["enriched_at"]

    def test_the_same_body_again_sees_what_came_into_a_store_meanwhile(self) -> None:
        """For half a minute the answer of before was given, after an ingest too."""
        source = Recording({md5_of(1): [document(md5=md5_of(1))]})

        with serving(source) as client:
            first = client.post("/v1/alerts", ALERT)
            source.records.clear()
            again = client.post("/v1/alerts", ALERT)

        assert (first.json()["status"], again.json()["status"]) == ("Signed", "Unknown")

    def test_a_cloud_event_is_its_own_key(self, jobs: FileJobs) -> None:
        event = {"specversion": "1.0", "type": "alert", "source": "/siem", "id": "1"}
        kind = {"Content-Type": "application/cloudevents+json"}

        with serving(Recording(), jobs=jobs) as client:
            statuses = [
                client.post("/v1/alerts", json.dumps({**event, "data": data}), kind).status_code
                for data in (ALERT, ALERT, {**ALERT, "md5": md5_of(2)})
            ]

        assert statuses == [200, 200, 409]


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
