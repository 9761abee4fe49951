"""What callers send besides alerts, and every error answer: problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

__all__ = [
    "PROBLEM_TYPE",
    "HashesRequest",
    "JobDocument",
    "LineageRequest",
    "Problem",
    "ProblemDocument",
    "ProblemError",
    "read_model",
]

PROBLEM_TYPE = "application/problem+json"
_TITLES = {
    400: ("unreadable", "The body cannot be read"),
    401: ("not-recognised", "Who asks is not known"),
    403: ("not-allowed", "Not allowed"),
    404: ("not-found", "There is nothing here"),
    405: ("method", "Not the method for this address"),
    406: ("not-acceptable", "No such kind of answer"),
    408: ("slow-body", "The body did not arrive in time"),
    409: ("key-reused", "The key belongs to another request"),
    413: ("too-big", "The body is too big"),
    415: ("not-json", "Not a kind of body that is read here"),
    422: ("nothing-recognisable", "Nothing to look up"),
    429: ("too-fast", "Too many requests"),
    500: ("bug", "A defect of cbsigned"),
    502: ("source-failed", "The source could not be asked"),
    503: ("busy", "Not now"),
}
_Model = TypeVar("_Model", bound=BaseModel)
_MOST_ERRORS = 50


class Problem(BaseModel):
    """One thing that is wrong, and where."""

    path: str = Field(description="Where: a member of the body such as `hashes[2]`, a header, or empty for the whole.")
    reason: str = Field(description="What is wrong and what to do, one sentence.")


class ProblemDocument(BaseModel):
    """An error answer, by RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:cbsigned:problem:nothing-recognisable", "title": "Nothing to look up", "status": 422,
                    "detail": "The alert has no md5, sha256 or process guid, so there is nothing to look up.",
                    "instance": "urn:cbsigned:request:5f0c7d1e9b1a4c53", "errors": [],
                }
            ]
        }
    )  # fmt: skip

    type: str = Field(description="Which problem, for machines: `urn:cbsigned:problem:…`.")
    title: str = Field(description="The same for people; does not change between occurrences.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened here, why, and what to do.")
    instance: str = Field(description="This request, as it stands in the logs: `urn:cbsigned:request:<X-Request-Id>`.")
    errors: list[Problem] = Field(description="Each thing that is wrong; may be empty.")


class ProblemError(Exception):
    """Ends a request with an error answer.

    Args:
        status: HTTP status, one of those above.
        detail: What happened, why, what to do; holds nothing secret.
        errors: (place, reason) pairs.
        headers: Sent besides, `Retry-After` for example.
    """

    def __init__(
        self, status: int, detail: str, errors: Sequence[tuple[str, str]] = (),
        headers: Optional[Mapping[str, str]] = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem document of this error."""
        slug, title = _TITLES.get(self.status, ("failed", "The request failed"))
        return {
            "type": f"urn:cbsigned:problem:{slug}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:cbsigned:request:{request_id}",
            "errors": [{"path": path, "reason": reason} for path, reason in self.errors[:_MOST_ERRORS]],
        }


class HashesRequest(BaseModel):
    """Files to ask for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"hashes": ["0f343b0931126a20f133d67c2b018a3b"]}]}
    )

    hashes: list[str] = Field(
        min_length=1, max_length=10_000, description="MD5 (32 hex digits) or SHA-256 (64) of each file, in any mixture."
    )


class LineageRequest(BaseModel):
    """A process to ask for: by guid, or by host and pid with the time at which it ran."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"guid": "00000009-0000-082c-01d1-7f392625197c"},
                {"host": "WS01", "pid": 4711, "time": "2026-10-01T09:59:58Z"},
            ],
            "anyOf": [
                {"required": ["guid"], "properties": {"guid": {"type": "string"}}},
                {
                    "required": ["host", "pid"],
                    "properties": {"host": {"type": "string"}, "pid": {"type": "integer"}},
                },
            ],
        },
    )

    guid: Optional[str] = Field(default=None, max_length=64, description="Process guid; a segment suffix is ignored.")
    host: Optional[str] = Field(default=None, min_length=1, max_length=255, description="Host name, any case.")
    pid: Optional[int] = Field(default=None, ge=0, le=0xFFFFFFFF, description="Process id on that host.")
    time: Optional[str] = Field(
        default=None,
        max_length=64,
        description="A moment at which it ran, ISO 8601; without one the pid must be unique.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> LineageRequest:
        if self.guid is None and (self.host is None or self.pid is None):
            raise PydanticCustomError("way", "Give guid, or host and pid with a time at which the process ran.")
        return self

    def record(self) -> dict[str, Any]:
        """Return the question as a flat row, which the core reads."""
        asked = {"process_guid": self.guid, "host": self.host, "pid": self.pid, "_time": self.time}
        return {name: value for name, value in asked.items() if value is not None}


class JobDocument(BaseModel):
    """An accepted job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "5f0c7d1e9b1a4c53", "state": "waiting", "status_url": "/v1/jobs/5f0c7d1e9b1a4c53"}]
        }
    )

    id: str = Field(description="Its id; not guessable.")
    state: str = Field(
        description="`waiting` until the answer is there; then the answer itself comes from the job's address."
    )
    status_url: str = Field(description="Where the answer will be.")


def read_model(model: type[_Model], raw: bytes) -> _Model:
    """Return a body as a model.

    Raises:
        ProblemError: 400 where it is not JSON, 422 where it is not the model; the caller's values are not repeated.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False, include_context=False)
    if any(error["type"] == "json_invalid" for error in found):
        raise ProblemError(400, "The body is not JSON. Send one JSON object in UTF-8.")
    errors = [(_place(error["loc"]), error["msg"]) for error in found]
    raise ProblemError(422, "The body is not what is expected here; `errors` says where.", errors)


def _place(parts: Sequence[object]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{str(part)[:40]}" if text else str(part)[:40]
    return text
