"""Headers, errors and versions: what every answer has in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbsigned.errors import ConfigError
from cbsigned_connectors.edr_server.dialect import parse_dialect
from cbsigned_connectors.http_server import listen, tls_checked
from connectors.edr_server.serving import TOKEN, Client, serving

RECORDED = {
    "content-type": "application/json; charset=utf-8", "content-encoding": "gzip", "transfer-encoding": "chunked",
    "cache-control": "max-age=0", "pragma": "no-cache", "server": "openresty", "x-frame-options": "DENY",
    "strict-transport-security": "max-age=31536000", "x-content-type-options": "nosniff", "connection": "keep-alive",
}  # fmt: skip


def test_json_has_the_recorded_headers(client: Client) -> None:
    answer = client.get("/api/info")

    assert {name: answer.headers.get(name) for name in RECORDED} == RECORDED
    assert answer.headers["Date"] == answer.headers["Expires"]
    assert "content-length" not in answer.headers


def test_json_is_plain_for_a_client_that_takes_no_gzip(client: Client) -> None:
    headers = {"X-Auth-Token": TOKEN, "Accept-Encoding": "identity"}

    answer = client.session.get(client.url + "/api/info", headers=headers)

    assert "content-encoding" not in answer.headers
    assert answer.json()["version"].startswith("7.")


@pytest.mark.parametrize("path", ["/", "/api", "/api/v9/process", "/api/info/x", "/../etc/passwd"])
def test_an_unknown_route_is_404(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert "<title>404 Not Found</title>" in answer.text


def test_a_wrong_method_is_405(client: Client) -> None:
    assert client.post("/api/info", {}).status_code == 405


def test_info_tells_the_version_that_was_asked_for(sample_store: Path) -> None:
    with serving(sample_store, "5.1.0.150914.1400") as client:
        told = client.get("/api/info").json()

    assert told["version"] == "5.1.0.150914.1400"
    assert told["features"]["immutable_documents"] is False


@pytest.mark.parametrize("version", ["4.2", "8.0", "7", "7.x", "", "7.3.0\n", "٧.3"])
def test_a_version_that_never_was_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="expected a server version"):
        parse_dialect(version)


@pytest.mark.parametrize(
    ("version", "events", "unique_id"),
    [
        ("5.0", 1, "00000007-0000-0d24-01d7-35e9bb340680-00000012"),
        ("5.1", 2, "00000007-0000-0d24-01d7-35e9bb340680-00000012"),
        ("5.2", 3, "00000007-0000-0d24-01d7-35e9bb340680-00000012"),
        ("6.0", 4, "00000007-0000-0d24-01d7-35e9bb340680-00000000000c"),
        ("7.8", 4, "00000007-0000-0d24-01d7-35e9bb340680-00000000000c"),
    ],
)
def test_each_version_has_its_event_route_and_its_segment_suffix(version: str, events: int, unique_id: str) -> None:
    dialect = parse_dialect(version)

    assert dialect.event_version == events
    assert dialect.unique_id("00000007-0000-0d24-01d7-35e9bb340680", 12) == unique_id


def test_tls_is_spoken_and_verified(sample_store: Path, tls: dict[str, Path]) -> None:
    with serving(sample_store, cert=tls["cert"], key=tls["key"]) as client:
        client.verify = str(tls["ca"])

        answer = client.get("/api/info")

    assert client.url.startswith("https://")
    assert answer.status_code == 200


def test_certificate_and_key_are_tried_before_anything_is_served(tmp_path: Path, tls: dict[str, Path]) -> None:
    (tmp_path / "bad.pem").write_text("no certificate", encoding="utf-8")

    with pytest.raises(ConfigError, match="needs both"):
        tls_checked(tls["cert"], None)
    with pytest.raises(ConfigError, match="Cannot use the certificate"):
        tls_checked(tmp_path / "bad.pem", tls["key"])


def test_a_taken_port_is_an_error_that_says_so() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="Choose another with --port"):
        listen("127.0.0.1", taken.getsockname()[1])
