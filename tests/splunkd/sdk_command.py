"""`| cbsigned` on splunklib's StreamingCommand, as one would write it with the SDK: the oracle, and the other racer.

It is copied into the app's `bin/` and runs there. It asks the same handler the same questions, once per chunk for what
it does not know yet, and adds the same fields.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from splunklib.searchcommands import Configuration, Option, StreamingCommand, dispatch, validators

from cbsigned_connectors.splunk.splunkd import HandlerClient

HASHES = ("process_md5", "md5", "process_hash")
FIELDS = ("status", "signed", "publisher", "issuer", "sign_time", "why", "source", "age_s")
NOTHING = (
    'The event has no hash: it has nothing in "process_md5" or "md5" or "process_hash". '
    "Name the field that has the MD5 or SHA-256 with field=…"
)


@Configuration(distributed=False, required_fields=list(HASHES))
class SdkCbsigned(StreamingCommand):
    prefix = Option(default="cbsigned_", validate=validators.Match("prefix", r"\w+"))

    def stream(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        rows = list(records)
        questions = [tuple(map(_hashable, map(row.get, HASHES))) for row in rows]
        known = self.__dict__.setdefault("known", {})
        wanted = [question for question in dict.fromkeys(questions) if any(question) and question not in known]
        for start in range(0, len(wanted), 10_000):
            part = wanted[start : start + 10_000]
            known.update(zip(part, self._asked(part)))
        names = [self.prefix + field for field in FIELDS]
        for row, question in zip(rows, questions):
            if any(question):
                signing = known[question]
                for name, field in zip(names, FIELDS):
                    row[name] = signing[field]
            else:
                row.update(dict.fromkeys(names, ""))
                row[names[0]], row[names[5]] = "Unknown", NOTHING
            yield row

    def _asked(self, questions: list[Any]) -> list[dict[str, Any]]:
        if "client" not in self.__dict__:
            info = self.metadata.searchinfo
            self.__dict__["client"] = HandlerClient(info.splunkd_uri, info.session_key)
        document = {"fields": list(HASHES), "rows": questions, "wait_s": 10, "timeout_s": 60}
        answer = self.__dict__["client"].ask("rows", document, 60)
        while "job" in answer:
            answer = self.__dict__["client"].ask("rows", {"job": answer["job"], "wait_s": 10}, 60)
        return [one["signing"] for one in answer["answers"]]


def _hashable(cell: Any) -> Any:
    return tuple(cell) if isinstance(cell, list) else cell or ""


if __name__ == "__main__":
    dispatch(SdkCbsigned, sys.argv, sys.stdin, sys.stdout, __name__)
