"""Addresses that a card may carry: the alert's own, once checked, and the EDR console's pages, built here."""

from __future__ import annotations

import re
from typing import Optional
from urllib.parse import urlsplit

from cbsigned.observables import is_foreign, is_unknown_parent, parse_guid, parse_md5

__all__ = ["console_links", "link_host", "safe_link"]

_MAX_LINK = 2000
_ADDRESS = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)
_SERVER = re.compile(r"edr:([A-Za-z0-9._\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?", re.ASCII)
_SEGMENT = 0  # the whole process on servers 6.x and 7.x


def safe_link(link: Optional[str]) -> Optional[str]:
    """Return a link that a card may carry: a web address of a URL's own characters, without user or password.

    Args:
        link: From outside. A backslash, which browsers read as a slash, letters that look like others, and
            whatever Markdown or HTML could read as their own make it unsafe.
    """
    if link is None or len(link) > _MAX_LINK or not _ADDRESS.fullmatch(link):
        return None
    return link if link_host(link) is not None else None


def link_host(link: str) -> Optional[str]:
    """Return the host and port that a link leads to; None where it has none, or names a user before it."""
    try:
        parts = urlsplit(link)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return None
    return parts.netloc if host and "@" not in parts.netloc else None


def console_links(
    source: Optional[str], process_guid: Optional[str], md5: Optional[str]
) -> Optional[dict[str, Optional[str]]]:
    """Return the console's pages of a process and of its binary, under `process` and `binary`; None for a store.

    Args:
        source: Who holds the evidence; only `edr:<host>` has a console.
        process_guid: Another product's id has no page.
        md5: Lower-case hex.

    References:
        - cb-edr-api §10.3: `link_process`; §1.4: segment 0 is the whole process; recorded `link_process_md5`
    """
    server = _SERVER.fullmatch(source or "")
    if server is None:
        return None
    console = f"https://{server.group()[len('edr:') :]}"
    guid = None if process_guid is None or is_foreign(process_guid) else parse_guid(process_guid)
    known_md5 = parse_md5(md5)
    return {
        "process": f"{console}/#analyze/{guid}/{_SEGMENT}" if guid and not is_unknown_parent(guid) else None,
        "binary": f"{console}/#/binary/{known_md5.upper()}" if known_md5 else None,
    }
