"""Free searches, against `cbsigned edr-server` over the sample telemetry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.edr import EdrSource, connect
from cbsigned.edr.pages import MAX_QUERY, QueryRefused, flat_row
from cbsigned.edr.query import Unsearchable
from cbsigned.errors import SourceAuthError, SourceError, SourceQueryError, SourceResponseError, SourceUnavailable
from cbsigned.gaps import Cause
from cbsigned.samples import sample_path
from cbsigned.settings import EdrSettings
from cbsigned.store.ingest import ingest
from cbsigned.timing import Deadline
from cbsigned_connectors.edr_server.faults import Fault, Faults
from connectors.edr_server.serving import TOKEN, Client, serving
from edr_server import EdrServer
from edr_server import Fault as Misbehaviour
from support import real_data

VERSIONS = ["5.1.0.150625.500", "5.2.0.161004.1206", "6.2.0.171114.1158", "7.3.0.200609.1533"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "samples.db"
    ingest(path, [sample_path("telemetry")])
    return path


@pytest.fixture(scope="module")
def edr(store: Path) -> Iterator[EdrSource]:
    with serving(store) as client, connected(client) as source:
        yield source


def deadline() -> Deadline:
    return Deadline(20)


def connected(client: Client) -> EdrSource:
    return connect(EdrSettings(client.url, TOKEN, retries=0))


def all_pages(source: EdrSource, query: str, rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    following: int | None = 0
    while following is not None:
        page = source.search_processes(query, start=following, rows=rows, deadline=deadline())
        found += page.rows
        following = page.next
    return found


class TestAnswers:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_process_search_has_the_servers_own_fields(self, store: Path, version: str) -> None:
        with serving(store, version) as client, connected(client) as source:
            page = source.search_processes("process_name:powershell.exe", deadline=deadline())
            raw = client.get("/api/v1/process", q="process_name:powershell.exe", rows=500).json()["results"]

        assert page.total == len(page.rows) == len(raw) > 0
        assert [row["id"] for row in page.rows] == [document["id"] for document in raw]
        assert {name for row in page.rows for name in row} <= {name for document in raw for name in document}
        assert {type(value) for row in page.rows for value in row.values()} <= {str, int, list}

    def test_a_binary_search(self, edr: EdrSource) -> None:
        page = edr.search_binaries('digsig_result:"Unsigned"', deadline=deadline())

        assert len(page.rows) == page.total > 0
        assert {"md5", "digsig_result", "observed_filename"} <= set(page.rows[0])
        assert page.next is None

    def test_pages_are_the_whole(self, edr: EdrSource) -> None:
        whole = edr.search_processes("", rows=1000, deadline=deadline())

        paged = all_pages(edr, "", 7)

        assert len(paged) == whole.total > 7
        assert sorted(str(row["id"]) for row in paged) == sorted(str(row["id"]) for row in whole.rows)

    def test_no_rows_tell_the_total_alone(self, edr: EdrSource) -> None:
        page = edr.search_processes("", rows=0, deadline=deadline())

        assert (page.rows, page.next) == ([], None)
        assert page.total > 7

    def test_an_over_estimated_total_ends_with_the_rows(self, store: Path) -> None:
        faults = Faults([Fault("/api/v1/process", "over-estimate", extra=10)])
        with serving(store, faults=faults) as client, connected(client) as source:
            first = source.search_processes("process_name:powershell.exe", deadline=deadline())
            last = source.search_processes("process_name:powershell.exe", start=first.next or 0, deadline=deadline())

        assert first.next == len(first.rows)
        assert (last.rows, last.next) == ([], None)

    def test_sorted_as_asked(self, edr: EdrSource) -> None:
        query = "start:[2000-01-01 TO *]"

        up, down = (
            edr.search_processes(query, sort=f"start {way}", deadline=deadline()).rows for way in ("asc", "desc")
        )

        times = [str(row["start"]) for row in up if "start" in row]
        assert times == sorted(times)
        assert [row["id"] for row in up] != [row["id"] for row in down]

    def test_a_recorded_document_comes_as_a_flat_row(self) -> None:
        """Answer of a real 6.2: every field is there, but for those without a value."""
        body = (real_data("cbapi-python") / "rest-2018" / "GET_v1_binary_rows1.json").read_bytes()
        recorded = json.loads(body)["results"][0]
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            server.fail("binary", Misbehaviour(body=body, kind="application/json"))
            page = source.search_binaries("", rows=1, deadline=deadline())

        assert (page.total, page.next) == (4296, 1)
        assert {name for name, value in recorded.items() if value not in ("", [], None)} == set(page.rows[0])
        assert page.rows[0]["digsig_publisher"] == "Microsoft Corporation"
        assert page.rows[0]["is_64bit"] == "false"
        assert page.rows[0]["observed_filename"] == recorded["observed_filename"]


class TestWhatIsSent:
    @pytest.mark.parametrize("query", ['path:c:\\windows\\* -cmdline:"a \\"b\\" c"', "a\tb\r\nc", "  x ", "ж or 日本"])
    def test_the_query_goes_out_as_typed(self, query: str) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            with pytest.raises(SourceError):  # the small server reads less than the real one
                source.search_processes(query, deadline=deadline())

            assert query == server.requests[-1].parameters["q"]

    @pytest.mark.parametrize(
        ("version", "grouped", "facet"),
        [("5.1.0.1", None, None), ("5.2.0.1", None, "false"), ("6.0.0.1", "id", "false"), ("7.3.0.1", "id", "false")],
    )
    def test_rows_are_one_for_each_process_where_the_version_can(
        self, version: str, grouped: str | None, facet: str | None
    ) -> None:
        with EdrServer(version=version) as server, connect(EdrSettings(server.url, server.token)) as source:
            source.search_processes("", start=20, rows=10, sort="start desc", deadline=deadline())
            source.search_binaries("", deadline=deadline())
            process, binary = (server.requests[n].parameters for n in (1, 2))

        assert (process.get("cb.group"), process.get("facet")) == (grouped, facet)
        assert (process["start"], process["rows"], process["sort"]) == ("20", "10", "start desc")
        assert "cb.group" not in binary
        assert "q" not in binary

    def test_segments_do_not_repeat(self) -> None:
        segments = [{"id": f"{n}", "unique_id": f"{n}-{s}", "segment_id": s} for n in range(3) for s in range(4)]
        with EdrServer(processes=segments) as server, connect(EdrSettings(server.url, server.token)) as source:
            page = source.search_processes("", deadline=deadline())

        assert [row["id"] for row in page.rows] == ["0", "1", "2"]

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("a" * (MAX_QUERY + 1), "The query has 65,537 characters"),
            ("process_name:a\x00", "Character 15 of the query is a control character"),
            ("a\x1b[31m", "Character 2 of"),
            ("a\x85", "Character 2 of"),
            ("\ud800", "Character 1 of"),
        ],
        ids=["long", "nul", "escape", "next-line", "surrogate"],
    )
    def test_what_no_query_has_is_not_sent(self, query: str, said: str) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            with pytest.raises(Unsearchable, match=said):
                source.search_processes(query, deadline=deadline())

            assert server.counts["process"] == 0

    @pytest.mark.parametrize("sort", ["start", "start desc, path asc", "Start desc", "start desc ", "", "q desc\n"])
    def test_a_sort_that_is_none_is_not_sent(self, edr: EdrSource, sort: str) -> None:
        with pytest.raises(Unsearchable, match="expected a field and asc or desc"):
            edr.search_processes("", sort=sort, deadline=deadline())

    @pytest.mark.parametrize(("start", "rows"), [(-1, 10), (0, -1), (0, 1001), (10_000_001, 1)])
    def test_pages_have_bounds(self, edr: EdrSource, start: int, rows: int) -> None:
        with pytest.raises(Unsearchable, match="expected 0 to 10,000,000 and 0 to 1,000"):
            edr.search_processes("", start=start, rows=rows, deadline=deadline())


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "position", "said"),
        [
            ("process_name:a.exe (b", 19, 'at character 20, "(b": This ( is never closed.'),
            ('cmdline:"x', 8, 'at character 9, ""x": This quote is never closed.'),
            ("a or", 2, 'at character 3, "or": Expected a term after or.'),
            ("process_name:", 13, "at its end: Expected a value right after the colon"),
        ],
    )
    def test_a_syntax_error_points_at_the_character(self, edr: EdrSource, query: str, position: int, said: str) -> None:
        with pytest.raises(QueryRefused) as caught:
            edr.search_processes(query, deadline=deadline())

        assert "refused the query (400, query_malformed_syntax): " + said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.position == position
        assert caught.value.excerpt.splitlines()[1].endswith(" " * position + "^")
        assert caught.value.cause is Cause.BLOCKED

    def test_a_blocked_query_is_told_as_such(self, store: Path) -> None:
        told = pytest.raises(QueryRefused, match="leading wildcards are blocked by the server's setting")
        with serving(store, "7.3.0") as client, connected(client) as source, told:
            source.search_processes("process_name:*shell.exe", deadline=deadline())

    def test_a_refusal_that_we_cannot_explain_stays_the_servers(self) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            server.fail("process", Misbehaviour(400, b'{"reason": "too_expensive"}', "application/json"))
            with pytest.raises(SourceQueryError, match=r"\(400, too_expensive\)") as caught:
                source.search_processes("process_name:a.exe", deadline=deadline())

        assert not isinstance(caught.value, QueryRefused)

    def test_what_our_parser_does_not_know_is_sent_with_a_note(self) -> None:
        documents = [{"id": "1", "brand_new_field": "x"}]
        with EdrServer(processes=documents) as server, connect(EdrSettings(server.url, server.token)) as source:
            page = source.search_processes("brand_new_field:x", deadline=deadline())

        assert [row["id"] for row in page.rows] == ["1"]
        assert page.notes == (
            "The query was sent as typed, but it may not mean what was meant: at character 1, "
            '"brand_new_field:x": There is no field brand_new_field in process search. To search for the text itself, '
            "quote it.",
        )

    def test_a_search_that_the_server_ended_is_told(self) -> None:
        body = b'{"results": [{"id": "1"}], "total_results": 1, "incomplete_results": true}'
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            server.fail("process", Misbehaviour(body=body, kind="application/json"))
            page = source.search_processes("", deadline=deadline())

        assert len(page.rows) == 1
        assert "only a part was searched" in page.notes[0]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault("/api/v1/*", "status", status=500), SourceUnavailable),
            (Fault("/api/v1/*", "status", status=403), SourceAuthError),
            (Fault("/api/v1/*", "truncate"), SourceError),
            (Fault("/api/v1/*", "status", status=404), SourceResponseError),
        ],
        ids=["500", "403", "cut", "404"],
    )
    def test_a_failure_is_an_error_without_the_token(self, store: Path, fault: Fault, error: type[Exception]) -> None:
        told = pytest.raises(error)
        with serving(store, faults=Faults([fault])) as client, connected(client) as edr, told as caught:
            edr.search_processes("process_name:a.exe", deadline=deadline())

        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("body", [b'{"results": {}, "total_results": 1}', b'{"results": []}', b"[]"])
    def test_another_shape_is_told(self, body: bytes) -> None:
        with EdrServer() as server, connect(EdrSettings(server.url, server.token)) as source:
            server.fail("process", Misbehaviour(body=body, kind="application/json"))
            with pytest.raises(SourceResponseError):
                source.search_processes("", deadline=deadline())


class TestRows:
    def test_values_are_texts_whole_numbers_and_lists(self) -> None:
        row = flat_row({
            "id": "x", "process_pid": 4, "terminated": True, "score": 1.5, "emet_config": "", "uid": None,
            "endpoint": ["A|1", "B|2"], "event_partition_id": [97777295491072], "group": [],
            "watchlists": [{"wid": "3", "value": "2021-04-20T13:33:23Z"}], "comms_ip": -1407842931,
            "interface_ip": 169090600, "bad name!": 1, "": 2, "object": {"é": [1]},
        })  # fmt: skip

        assert row == {
            "id": "x", "process_pid": 4, "terminated": "true", "score": "1.5", "endpoint": ["A|1", "B|2"],
            "event_partition_id": ["97777295491072"], "watchlists": ['{"wid":"3","value":"2021-04-20T13:33:23Z"}'],
            "comms_ip": "172.22.5.141", "interface_ip": "10.20.30.40", "object": '{"é":[1]}',
        }  # fmt: skip

    @given(
        st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["comms_ip", "a"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=8,
            ),
        )
    )
    def test_whatever_a_document_holds_a_row_is_flat(self, document: dict[str, Any]) -> None:
        row = flat_row(document)

        assert set(row) <= set(document)
        for value in row.values():
            assert type(value) in (str, int) or all(type(text) is str and text for text in value)  # type: ignore[union-attr]

    def test_an_object_nested_too_deeply_is_left_out(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]

        assert flat_row({"id": "x", "deep": deep}) == {"id": "x"}
