"""The addresses of the responder, over real HTTP."""

from __future__ import annotations

from typing import Any

from connectors.webhook.serving import Client


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

    def test_a_list_of_one_is_a_list(self, client: Client, procmon: dict[str, Any]) -> None:
        assert len(client.post("/v1/alerts", [procmon]).json()["enrichments"]) == 1


class TestWho:
    def test_nobody_is_let_in_without_the_token(self, client: Client, procmon: dict[str, Any]) -> None:
        answer = Client(client.url, client.session, None).post("/v1/alerts", procmon)

        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="cbsigned"')
        assert answer.headers["Content-Type"] == "application/problem+json"
