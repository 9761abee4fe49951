"""Stands in for Splunk's own module, which exists inside Splunk alone: the base class of persistent handlers."""

from __future__ import annotations

from typing import Any


class PersistentServerConnectionApplication:
    """What a handler inherits; made once per process with the command line of the stanza, then asked many times."""

    def handle(self, in_string: str) -> Any:
        """Answer one request, JSON in, a dictionary with `status`, `payload` and `headers` out."""
        raise NotImplementedError("handle")
