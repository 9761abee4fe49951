"""The app's conf files, read as Splunk reads them: stanzas, `key = value`, a backslash at its end joins two lines."""

from __future__ import annotations

import re
from pathlib import Path

from support import PROJECT

__all__ = ["APP", "PACKAGING", "conf"]

PACKAGING = PROJECT / "packaging" / "splunk"
APP = PACKAGING / "app"


def conf(name: str, folder: Path = APP / "default") -> dict[str, dict[str, str]]:
    """Return stanza → key → value; a key or stanza given twice is an error here, though not to Splunk."""
    text = (folder / name).read_text(encoding="utf-8")
    stanzas: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in re.sub(r"[ \t]*\\\n[ \t]*", "\n\x00", text).replace("\n\x00", "\x00").split("\n"):
        head = re.fullmatch(r"\[(.*)\]\s*", line)
        if head:
            assert head[1] not in stanzas, f"{name}: [{head[1]}] twice"
            current = stanzas.setdefault(head[1], {})
        elif line.strip() and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, f"{name}: {line}"
            assert key.strip() not in current, f"{name}: {key} twice"
            current[key.strip()] = value.strip().replace("\x00", "\n")
    return stanzas
