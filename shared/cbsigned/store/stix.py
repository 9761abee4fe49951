"""STIX patterns → the simple comparisons in them.

A pattern of one comparison, or of several joined by OR, is as many indicators. Whatever else a pattern asks for (AND,
time windows, other objects and operators) is not made simpler than it is: it comes back by name.

References:
    - STIX 2.1, section 9 (patterning)
"""

from __future__ import annotations

import re
from typing import Optional

__all__ = ["comparisons"]

_MAX_PATTERN = 65_536
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')|(?P<path>[a-z0-9-]+:[A-Za-z0-9_.\-]+(?:'(?:\\.|[^'\\])*'[A-Za-z0-9_.\-]*)*)"
    r"|(?P<word>[A-Za-z]+)|(?P<sign>[\[\]()]|!=|<=|>=|[=<>,])|(?P<other>\S))"
)
_PATHS = {
    "file:hashes.md5": "md5", "file:hashes.'md5'": "md5", "file:hashes.'sha-256'": "sha256",
    "file:hashes.sha256": "sha256", "file:hashes.'sha256'": "sha256", "file:hashes.'sha-1'": "sha1",
    "file:hashes.sha1": "sha1", "file:hashes.'sha1'": "sha1", "ipv4-addr:value": "ip", "ipv6-addr:value": "ip",
    "domain-name:value": "domain", "file:name": "name",
}  # fmt: skip
_TOO_MUCH = {
    "AND": "AND in a pattern", "NOT": "NOT in a pattern", "FOLLOWEDBY": "FOLLOWEDBY in a pattern",
    "WITHIN": "WITHIN in a pattern", "REPEATS": "REPEATS in a pattern", "START": "START in a pattern",
    "EXISTS": "EXISTS in a pattern",
}  # fmt: skip


def comparisons(pattern: str) -> list[tuple[Optional[str], str]]:
    """Return what a pattern compares: (`md5`, value) and so on, or (None, name) for what cannot be asked for.

    Args:
        pattern: As an indicator object holds it.
    """
    if len(pattern) > _MAX_PATTERN:
        return [(None, "pattern that is too long")]
    tokens = [(match.lastgroup or "", match.group(match.lastgroup or 0)) for match in _TOKEN.finditer(pattern)]
    beyond = next((_TOO_MUCH[text] for kind, text in tokens if kind == "word" and text in _TOO_MUCH), None)
    if beyond is not None:
        return [(None, beyond)]
    plain = [token for token in tokens if token[1] not in ("[", "]", "(", ")")]
    found: list[tuple[Optional[str], str]] = []
    while plain:
        taken = _comparison(plain)
        if taken is None:
            return [(None, "pattern that cannot be read")]
        if taken[0] is None and taken[1].startswith("operator "):
            return [taken]  # how far its operand goes is the operator's own matter
        found.append(taken)
        plain = plain[3:]
        if plain[:1] == [("word", "OR")] and len(plain) > 1:
            plain = plain[1:]
        elif plain:
            return [(None, "pattern that cannot be read")]
    return found or [(None, "pattern that cannot be read")]


def _comparison(tokens: list[tuple[str, str]]) -> Optional[tuple[Optional[str], str]]:
    """Return the first comparison; None where there is none."""
    kinds = [kind for kind, _text in tokens[:3]]
    if len(kinds) < 3 or kinds[0] != "path" or kinds[1] not in ("sign", "word"):
        return None
    path, operator, value = (text for _kind, text in tokens[:3])
    if operator != "=":
        return None, f"operator {operator}"
    if kinds[2] != "text":
        return None
    word = _PATHS.get(path.lower())
    return (word, re.sub(r"\\(.)", r"\1", value[1:-1])) if word else (None, path)
