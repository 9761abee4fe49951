"""The OpenAPI document: valid, complete, and true to what is answered."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import openapi_spec_validator
from starlette.routing import Route

from cbsigned_connectors.webhook.app import create_app
from cbsigned_connectors.webhook.openapi import document
from connectors.webhook.serving import Client, parts_of
from recording import Recording, md5_of

_METHODS = {"get", "post", "put", "delete", "options", "patch", "head"}


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method): operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    }


def check(value: Any, name: str) -> None:
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": document()["components"]})


def test_the_document_is_valid_openapi() -> None:
    openapi_spec_validator.validate(json.loads(json.dumps(document())))


def test_every_route_is_in_it_and_nothing_else() -> None:
    app = create_app(parts_of(Recording()))
    routes = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and not route.path.startswith(("/page", "/openapi.json")) and route.path != "/"
        for method in (route.methods or ())
        if method not in ("HEAD", "OPTIONS")
    }

    assert routes == set(operations())


def test_operations_have_names_that_generators_can_use() -> None:
    names = [operation["operationId"] for operation in operations().values()]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]+", name) for name in names)
    assert all(operation["summary"] and operation["tags"] for operation in operations().values())


def test_every_error_is_a_problem_document() -> None:
    for operation in operations().values():
        for status, response in operation["responses"].items():
            if status[0] in "45" and operation["operationId"] != "ready":
                assert list(response["content"]) == ["application/problem+json"]


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    names = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document()))

    assert set(names) <= set(schemas)


def test_every_path_parameter_is_described() -> None:
    for (path, _method), operation in operations().items():
        described = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert described == set(re.findall(r"{(\w+)}", path))


def test_the_example_is_an_answer() -> None:
    response = operations()["/v1/alerts", "post"]["responses"]["200"]
    example = response["content"]["application/json"]["examples"]["signed"]["value"]

    check(example, "Enrichment")
    assert example["status"] == "Signed"


def test_answers_are_as_described(client: Client, sample_alerts: list[dict[str, Any]]) -> None:
    one, several = sample_alerts[0], sample_alerts

    check(client.post("/v1/alerts?card=both", one).json(), "Enrichment")
    check(client.post("/v1/alerts", several).json(), "Enrichments")
    check(client.post("/v1/signed", {"hashes": [md5_of(1), "x"]}).json(), "SignedAnswer")
    check(client.get("/readyz").json(), "Readiness")
    check(client.post("/v1/signed", {}).json(), "ProblemDocument")


def test_it_is_served(client: Client) -> None:
    assert client.get("/openapi.json").json() == json.loads(json.dumps(document()))
