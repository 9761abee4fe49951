"""The OpenAPI 3.1 document: what code generators and no-code tools read.

The answer's schema is the core's own `enrichment.schema.json`, so the two cannot part; the example is an answer that
the core gives to the alert beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from cbsigned import __version__
from cbsigned.binary import BinaryRecord, RecordKind
from cbsigned.enrichment import Sources, enrich
from cbsigned.formats import FORMATS as ALERT_FORMATS
from cbsigned.signing import BinaryAnswers
from cbsigned.timing import Deadline, parse_time
from cbsigned_connectors.webhook.answers import FORMATS, documents_of
from cbsigned_connectors.webhook.models import (
    PROBLEM_TYPE,
    HashesRequest,
    JobDocument,
    LineageRequest,
    ProblemDocument,
)

__all__ = ["described", "document"]

Document = dict[str, Any]

_ALERT = {
    "alert_id": "4711", "search_name": "Suspicious child", "dest": "WS01", "process_name": "procmon64.exe",
    "process_hash": "MD5=B0A3ECC9EAA2521DDEA2FC067785B84E",
}  # fmt: skip
_BODY_TYPES = (
    "application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json",
    "application/x-www-form-urlencoded",
)  # fmt: skip
_ERRORS = {
    "400": "The body cannot be read.",
    "401": "Who asks is not known.",
    "403": "The sender may not send from this address.",
    "404": "There is no such format or job.",
    "406": "`Accept` names nothing that can be written.",
    "408": "The body did not arrive in time.",
    "409": "The key came with another request before.",
    "413": "The body is too big, packed or unpacked.",
    "415": "The body's type, packing or character set is not read.",
    "422": "The body can be read, and names nothing to look up; or a parameter cannot be used.",
    "429": "Too many requests; `Retry-After` says when to come again.",
    "500": "A defect; the log has the details.",
    "502": "The source could not be asked, and nothing was known; `Retry-After` says when to come again.",
    "503": "Too much is waiting, or nothing can be kept; `Retry-After` says when to come again.",
}
_ALERT_ERRORS = tuple(_ERRORS)
_SHORT_ERRORS = ("400", "401", "403", "408", "409", "413", "422", "429", "500", "502", "503")
_SECURITY: list[Document] = [{"bearer": []}, {"basic": []}, {"apiKey": []}, {"standardWebhooks": []}, {"github": []}]


def described(app: FastAPI) -> None:
    """Let an application serve this document at `/openapi.json`."""
    app.openapi = lambda: document()  # type: ignore[method-assign]


@lru_cache(maxsize=1)
def document() -> Document:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cbsigned webhook responder",
            "version": __version__,
            "summary": "Post any security alert, get it back with signing status and lineage.",
            "description": (
                "Is the process of an alert signed, and where did it come from? Any format that is listed, one alert "
                "or many; the answer within the deadline, with the reason for everything that is not known. "
                "*Unknown* is never *Unsigned*."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "alerts", "description": "Enrich alerts, now or later."},
            {"name": "questions", "description": "Ask for files and processes without an alert."},
            {"name": "operation", "description": "For those who run the service."},
        ],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": _security_schemes()},
    }


def _paths() -> Document:
    source = _parameter("path", "source", "Format of the alerts, or the name of a field mapping of yours: "
                        + "; ".join(f"`{name}` ({about})" for name, about in ALERT_FORMATS.items()) + ".",
                        {"type": "string", "minLength": 1, "maxLength": 64}, example="row")  # fmt: skip
    token = _parameter("path", "token", "The sender's path token, for senders that can send nothing else. It is not "
                       "logged here; see to it that no proxy logs it.",
                       {"type": "string", "minLength": 16, "maxLength": 512})  # fmt: skip
    job_id = _parameter("path", "id", "As in `Location` of the 202.", {"type": "string", "maxLength": 128})
    return {
        "/v1/alerts": {"post": _enriching("enrichAlerts", "Enrich alerts of any format", [])},
        "/v1/alerts/{source}": {
            "post": _enriching("enrichAlertsOfSource", "Enrich alerts of a format that is named", [source])
        },
        "/v1/alerts/{source}/{token}": {
            "post": {
                **_enriching("enrichAlertsByPathToken", "Enrich alerts, the token in the path", [source, token]),
                "security": [{}],
            }
        },
        "/v1/signed": {
            "post": _question("signedFiles", "Signing status of files by hash", "HashesRequest", "SignedAnswer", [])
        },
        "/v1/lineage": {
            "post": _question("lineageOfProcess", "A process and its ancestors", "LineageRequest", "Enrichment",
                              _wishes())
        },
        "/v1/jobs/{id}": {"get": _job(job_id)},
        "/healthz": {"get": _operation("alive", "Whether the process runs", {"200": _json("It does.", {
            "type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}})})},
        "/readyz": {"get": _operation("ready", "Whether everything works, and what does not", {
            "200": _json("It does.", _ref("Readiness")),
            "503": _json("`parts` say what does not.", _ref("Readiness"))})},
        "/metrics": {"get": _operation("metrics", "Counters for Prometheus", {
            "200": {"description": "Text exposition format.",
                    "content": {"text/plain": {"schema": {"type": "string"}}}}})},
    }  # fmt: skip


def _enriching(operation: str, summary: str, parameters: Sequence[Document]) -> Document:
    alerts: Document = {
        "application/json": {
            "schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
            "examples": {"one": {"value": _ALERT}, "several": {"value": [_ALERT, _ALERT]}},
        },
        "application/x-www-form-urlencoded": {
            "schema": {"type": "object", "required": ["payload"], "properties": {
                "payload": {"type": "string", "description": "The alert as JSON."}}}
        },
    }  # fmt: skip
    for kind in _BODY_TYPES:
        alerts.setdefault(kind, {"schema": {"type": "array" if "batch" in kind else "object"}})
    alerts["application/x-ndjson"] = {"schema": {"type": "string"}}
    callback = _parameter("query", "callback_url", "Where the answer to `mode=async` is posted, signed by Standard "
                          "Webhooks; its host must be allowed in the configuration.",
                          {"type": "string", "format": "uri", "maxLength": 2000})  # fmt: skip
    mode = _parameter("query", "mode", "`async` answers 202 at once; so does the header `Prefer: respond-async`.",
                      {"type": "string", "enum": ["sync", "async"], "default": "sync"})  # fmt: skip
    key = _parameter("header", "Idempotency-Key", "The same key with the same request gives the stored answer, with "
                     "another one 409.", {"type": "string", "minLength": 1, "maxLength": 255})  # fmt: skip
    return {
        "operationId": operation,
        "tags": ["alerts"],
        "summary": summary,
        "description": (
            "One alert gives one enrichment; a list (an array, lines, a batch, a bundle) gives `enrichments` in the "
            "same order. What is not known in time is a gap with its reason, and `complete` is false."
        ),
        "security": _SECURITY,
        "parameters": [*parameters, mode, callback, *_wishes(), key],
        "requestBody": {"required": True, "content": alerts},
        "responses": {
            "200": _answer("The enrichment."),
            "202": _accepted(),
            **_problems(_ALERT_ERRORS),
        },
    }


def _question(operation: str, summary: str, asked: str, answered: str, parameters: Sequence[Document]) -> Document:
    answer = _answer("The enrichment of this process.") if answered == "Enrichment" else _json("", _ref(answered))
    return {
        "operationId": operation,
        "tags": ["questions"],
        "summary": summary,
        "security": _SECURITY,
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(asked)}}},
        "responses": {"200": {**answer, "description": "What is known."}, **_problems((*_SHORT_ERRORS, "406"))},
    }


def _job(parameter: Document) -> Document:
    errors = _problems(tuple(_ERRORS))
    return {
        "operationId": "job",
        "tags": ["alerts"],
        "summary": "The answer to an accepted job",
        "description": "202 while there is none; then the answer, with the status that it would have had at once.",
        "security": _SECURITY,
        "parameters": [parameter],
        "responses": {"200": _answer("The answer."), "202": _accepted(), **errors},
    }


def _operation(operation: str, summary: str, responses: Document) -> Document:
    return {
        "operationId": operation, "tags": ["operation"], "summary": summary, "security": [{}],
        "responses": {**responses, **_problems(("500",))},
    }  # fmt: skip


def _wishes() -> list[Document]:
    return [
        _parameter("query", "format", "How the answer is written, before `Accept`: `ocsf` as `enrichments[]`, `ecs` as "
                   "fields of the Elastic Common Schema.", {"type": "string", "enum": list(FORMATS)}),
        _parameter("query", "card", "Put a card into the JSON, to be pasted.",
                   {"type": "string", "enum": ["none", "markdown", "html", "both"], "default": "none"}),
    ]  # fmt: skip


def _answer(text: str) -> Document:
    schema = {"anyOf": [_ref("Enrichment"), _ref("Enrichments"), _ref("OtherFormat")]}
    card = {"schema": {"type": "string"}}
    return {
        "description": text,
        "headers": {"X-Request-Id": {"schema": {"type": "string"}, "description": "As in the logs."}},
        "content": {
            "application/json": {"schema": schema, "examples": {"signed": {"value": _example()}}},
            "text/markdown": card,
            "text/html": card,
        },
    }


def _accepted() -> Document:
    return {
        **_json("Kept, and answered later.", _ref("JobDocument")),
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Where the answer will be."},
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."},
        },
    }


def _problems(statuses: Sequence[str]) -> Document:
    return {
        status: {
            "description": _ERRORS[status],
            "content": {PROBLEM_TYPE: {"schema": _ref("ProblemDocument")}},
        }
        for status in statuses
    }


def _json(text: str, schema: Document) -> Document:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _parameter(place: str, name: str, text: str, schema: Document, example: Any = None) -> Document:
    found = {"name": name, "in": place, "required": place == "path", "description": text, "schema": schema}
    return found if example is None else {**found, "example": example}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Document:
    """Return the core's schema taken apart, our additions, and the models of requests and problems."""
    whole: Document = json.loads((files("cbsigned") / "enrichment.schema.json").read_text("utf-8"))
    parts = {_name(name): _moved(part) for name, part in whole.pop("$defs").items()}
    own: Document = _moved({name: part for name, part in whole.items() if name not in ("$schema", "$id")})
    own["properties"]["stale"] = {
        "type": "boolean",
        "description": "The source could not be asked; what is told was read earlier, `evidence.read_at` says when.",
    }
    own["properties"]["card"] = {
        "type": "object",
        "description": "Only where `card` asks for it.",
        "properties": {"markdown": {"type": "string"}, "html": {"type": "string"}},
    }
    own["required"] = [*own["required"], "stale"]
    signed = {**parts["Signature"], "properties": {"asked": {"type": "string", "description": "The hash as it came."},
                                                   **parts["Signature"]["properties"]}}  # fmt: skip
    signed["required"] = ["asked", *signed["required"]]
    rows = {"type": "array", "items": _ref("Enrichment")}
    return {
        **parts,
        "Enrichment": own,
        "Enrichments": _object({"enrichments": rows}, "One for each alert, in order."),
        "OtherFormat": {"type": "object", "description": "OCSF or ECS, where `format` asks for it; for a list, "
                        "`enrichments` holds one object for each alert."},
        "SignedFile": {**signed, "description": "The signing status of one file that was asked for."},
        "SignedAnswer": _object({"signatures": {"type": "array", "items": _ref("SignedFile")},
                                 "complete": {"type": "boolean"}, "stale": {"type": "boolean"}}, "One for each hash."),
        "Readiness": _object({"ready": {"type": "boolean"}, "parts": {"type": "array", "items": _object({
            "name": {"type": "string"}, "ok": {"type": "boolean"}, "detail": {"type": "string"},
            "checked_at": {"type": ["string", "null"], "format": "date-time"}}, "One part.")}}, "What works."),
        **_models(HashesRequest, LineageRequest, JobDocument, ProblemDocument),
    }  # fmt: skip


def _models(*models: type[BaseModel]) -> Document:
    found: Document = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    return found


def _object(properties: Document, text: str) -> Document:
    return {"type": "object", "description": text, "required": list(properties), "properties": properties}


def _moved(part: Any) -> Any:
    """Return a part of the core's schema with its references as they stand here."""
    if isinstance(part, Mapping):
        return {
            name: f"#/components/schemas/{_name(value.rsplit('/', 1)[1])}" if name == "$ref" else _moved(value)
            for name, value in part.items()
        }
    return [_moved(item) for item in part] if isinstance(part, list) else part


def _name(name: str) -> str:
    return {"status": "SigningStatus", "alert": "AlertRead"}.get(name, name[:1].upper() + name[1:])


def _security_schemes() -> Document:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "The token of the first run, or a sender's."},
        "basic": {"type": "http", "scheme": "basic", "description": "The secret is the password."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "Or a header of your choice."},
        "standardWebhooks": {
            "type": "apiKey", "in": "header", "name": "webhook-signature",
            "description": "Standard Webhooks, with `webhook-id` and `webhook-timestamp`.",
        },
        "github": {
            "type": "apiKey", "in": "header", "name": "X-Hub-Signature-256",
            "description": "`sha256=` and the HMAC of the body in hex.",
        },
    }  # fmt: skip


class _Example:
    """A source that knows one file."""

    name = "edr:cb.example.test"

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        record = BinaryRecord(
            RecordKind.BINARY_DOCUMENT, md5=hashes[0], word="Signed", publisher="Microsoft Corporation",
            issuer="Microsoft Code Signing PCA", recorded_at=parse_time("2026-10-01T09:59:58Z"),
        )  # fmt: skip
        return dict.fromkeys(hashes, (record,))


def _example() -> Document:
    return documents_of(list(enrich([_ALERT], Sources(_Example()))))[0]
