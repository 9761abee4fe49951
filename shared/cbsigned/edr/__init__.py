"""Carbon Black EDR over REST, versions 5.x to 7.x, as a source of the core.

Example:
    with connect(settings.edr) as source:
        statuses = signing_statuses(source, hashes, Deadline(60))
"""

from __future__ import annotations

from cbsigned.edr.activity import ActivityPage
from cbsigned.edr.checks import Finding
from cbsigned.edr.events import Entry
from cbsigned.edr.pages import QueryRefused, SearchPage
from cbsigned.edr.source import EdrSource
from cbsigned.edr.transport import EdrClient
from cbsigned.settings import EdrSettings

__all__ = ["ActivityPage", "EdrClient", "EdrSource", "Entry", "Finding", "QueryRefused", "SearchPage", "connect"]


def connect(settings: EdrSettings) -> EdrSource:
    """Return the source for a server; nothing is asked yet.

    Raises:
        ConfigError: `ca_file` cannot be read, or the token has characters that no token has.
    """
    return EdrSource(EdrClient(settings))
