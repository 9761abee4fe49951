r"""The one tokenizer: what is stored and what is asked are cut by the same functions.

Everything here folds case. Control characters count as white space, so no token holds one; queries use two of them
to mark wildcards (`cbsigned.query.globs`), and engines may use others as marks of their own.

    >>> text_words("Microsoft® Windows™, v10.0")
    ['microsoft', 'windows', 'v10', '0']
    >>> cmdline_words('"C:\\Windows\\csc.exe" /d a.dll,Run=1 http://x.test/y')
    ['c:', 'windows', 'csc.exe', '/d', 'a.dll', 'run', '1', 'http', 'x.test', 'y']
    >>> extensions(['csc.exe', '/d', 'a.dll', 'b.dll', '.config'])
    ['.exe', '.dll']
    >>> legacy_cmdline_words('"C:\\Windows\\csc.exe" /d')
    ['"c:', 'windows', 'csc.exe"', '/d']
    >>> sub_paths('C:\\a\\b\\x.exe')
    ['c:\\a\\b\\x.exe', 'a\\b\\x.exe', 'b\\x.exe', 'x.exe']
    >>> domain_labels('WWW.Example.com.')
    ['www', 'example', 'com']

References:
    - cb-edr-api §4.2 (field types), §4.3 (registry), §4.5 (command lines)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "cmdline_words",
    "domain_labels",
    "extensions",
    "folded_path",
    "folded_registry_path",
    "legacy_cmdline_words",
    "sub_paths",
    "text_words",
]

_WILD = {1: "\x01", 2: "\x02"}  # the marks of cbsigned.query.globs
_CONTROLS = dict.fromkeys((*range(32), 127), " ")
_CMDLINE = {**_CONTROLS, **{ord(c): " " for c in "\\\"'()[]{},=<>&|;"}}
_LEGACY = {**_CONTROLS, ord("\\"): " "}
_TABLES = {False: (_CONTROLS, _CMDLINE, _LEGACY), True: tuple({**t, **_WILD} for t in (_CONTROLS, _CMDLINE, _LEGACY))}
_WORD = {False: re.compile(r"[^\W_]+"), True: re.compile(r"(?:[^\W_]|[\x01\x02])+")}
_SEPARATORS = re.compile(r"\\{2,}")
_CONTROL_SET = re.compile(r"controlset\d{3}(?=\\|$)")
_MAX_EXTENSION = 8


def text_words(text: str, *, wild: bool = False) -> list[str]:
    """Return the words of a text: runs of letters and digits, in order.

    Args:
        text: Any.
        wild: It is a query's, and marks of wildcards are parts of words; so for all functions here.
    """
    return _WORD[wild].findall(text.lower())


def cmdline_words(line: str, *, wild: bool = False, switch: bool = False) -> list[str]:
    r"""Return the words of a command line by the scheme of 6.3, in order; `extensions` gives the tokens beside them.

    `\ " ' ( ) [ ] { } , = < > & | ;` are white space. A slash at the start of a word that is not the line's first
    makes a switch and stays; any other slash is white space. A colon at the end of a word stays (`c:`); any other
    is white space.

    Args:
        line: A command line, or a part of one.
        wild: As in `text_words`.
        switch: A slash at the very start makes a switch too.
    """
    words: list[str] = []
    for raw in line.lower().translate(_TABLES[wild][1]).split():
        if ":" in raw or "/" in raw:
            words.extend(_cut(raw, not words and not switch))
        else:
            words.append(raw)
    return words


def extensions(words: Iterable[str]) -> list[str]:
    """Return the distinct extension tokens that the words of a command line bring: `csc.exe` gives `.exe`.

    An extension has 1 to 8 letters or digits after the last dot, and something before it.
    """
    found: dict[str, None] = {}
    for word in words:
        base, dot, extension = word.rpartition(".")
        if dot and base and len(extension) <= _MAX_EXTENSION and extension.isalnum():
            found[f".{extension}"] = None
    return list(found)


def legacy_cmdline_words(line: str, *, wild: bool = False) -> list[str]:
    """Return the words of a command line as servers before 6.3 cut it: at white space and backslashes only."""
    return line.lower().translate(_TABLES[wild][2]).split()


def folded_path(path: str, *, wild: bool = False) -> str:
    r"""Return a path for comparing: lower case, one backslash between its parts, none at either end.

    >>> folded_path('\\Device\\HarddiskVolume1\\X.exe'), folded_path('/usr//bin/ls')
    ('device\\harddiskvolume1\\x.exe', 'usr\\bin\\ls')
    """
    folded = path.lower().replace("/", "\\")
    if not folded.isprintable():
        folded = folded.translate(_TABLES[wild][0])
    if "\\\\" in folded:
        folded = _SEPARATORS.sub(r"\\", folded)
    return folded.strip("\\")


def folded_registry_path(path: str, *, wild: bool = False) -> str:
    r"""Return a registry path for comparing; `controlset001` and its like become `currentcontrolset`.

    >>> folded_registry_path('\\registry\\machine\\system\\ControlSet001\\services')
    'registry\\machine\\system\\currentcontrolset\\services'
    """
    folded = folded_path(path, wild=wild)
    return _CONTROL_SET.sub("currentcontrolset", folded) if "controlset" in folded else folded


def sub_paths(path: str) -> list[str]:
    """Return every trailing part of a path, the whole first."""
    parts = folded_path(path).split("\\")
    return ["\\".join(parts[start:]) for start in range(len(parts))]


def domain_labels(domain: str, *, wild: bool = False) -> list[str]:
    """Return the labels of a domain name, without empty ones."""
    return [label for label in domain.lower().translate(_TABLES[wild][0]).strip().split(".") if label]


def _cut(raw: str, first: bool) -> list[str]:
    """Cut one word of a command line at its slashes and colons."""
    switch = raw.startswith("/") and not first
    ends = raw.endswith(":")
    pieces = [piece for piece in re.split(r"[/:]+", raw) if piece]
    if pieces and ends:
        pieces[-1] += ":"
    if pieces and switch:
        pieces[0] = f"/{pieces[0]}"
    return pieces
