"""Conf files as splunkd reads them: default and local merged, the local one written."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Conf", "is_true"]

Stanzas = dict[str, dict[str, str]]


def is_true(text: str) -> bool:
    """Return whether splunkd takes a text for true."""
    return text.strip().lower() in ("1", "true", "t", "yes", "y", "enabled", "on")


class Conf:
    """The conf files of one app.

    Args:
        app: Its folder.
    """

    def __init__(self, app: Path) -> None:
        self._app = app
        self._lock = threading.Lock()

    def read(self, name: str) -> Stanzas:
        """Return the stanzas of `name`.conf, `[default]` folded into each, empty where there is no such file."""
        with self._lock:
            merged: Stanzas = {}
            for layer in ("default", "local"):
                for stanza, entries in parse(self._app / layer / f"{name}.conf").items():
                    merged.setdefault(stanza, {}).update(entries)
        everywhere = merged.pop("default", {})
        return {stanza: {**everywhere, **entries} for stanza, entries in merged.items()}

    def write(self, name: str, stanza: str, entries: Mapping[str, str]) -> None:
        """Set entries in the local file."""
        path = self._app / "local" / f"{name}.conf"
        with self._lock:
            local = parse(path)
            local.setdefault(stanza, {}).update(entries)
            path.parent.mkdir(exist_ok=True)
            lines = []
            for title, content in local.items():
                lines += [f"[{title}]", *(f"{key} = {value}" for key, value in content.items()), ""]
            path.write_text("\n".join(lines), encoding="utf-8")


def parse(path: Path) -> Stanzas:
    """Return the stanzas of one file; a line that ends in a backslash goes on in the next."""
    stanzas: Stanzas = {}
    current, key = "default", ""
    if not path.is_file():
        return stanzas
    text = path.read_text(encoding="utf-8").replace("\\\n", "\n\x00")
    for line in text.split("\n"):
        if line.startswith("\x00"):
            stanzas[current][key] += "\n" + line[1:]
        elif line.strip() and not line.lstrip().startswith("#"):
            if line.startswith("["):
                current = line.strip()[1:-1]
                stanzas.setdefault(current, {})
            else:
                key, _, value = (part.strip() for part in line.partition("="))
                stanzas.setdefault(current, {})[key] = value
    return stanzas
