"""Whether a stored text matches: what an engine without an index of its own runs over every distinct text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cbsigned.query.fields import Type
from cbsigned.query.globs import MANY, Glob
from cbsigned.query.tokens import (
    cmdline_words,
    domain_labels,
    extensions,
    folded_path,
    folded_registry_path,
    legacy_cmdline_words,
    text_words,
)
from cbsigned.query.tree import Equals, Exists, Labels, Matcher, Place, SubPath, Words

__all__ = ["text_test"]

Test = Callable[[str], bool]


def text_test(type_: Type, matcher: Matcher) -> Test:
    """Return a test of stored texts, as they were reported.

    Args:
        type_: The field's.
        matcher: One that fits it: `Equals`, `Words`, `SubPath`, `Labels` or `Exists`.
    """
    if isinstance(matcher, Exists):
        return bool
    if isinstance(matcher, Words):
        return _words(type_, matcher)
    if isinstance(matcher, SubPath):
        return _sub_path(folded_registry_path if type_ is Type.REGISTRY else folded_path, matcher.path)
    if isinstance(matcher, Labels):
        return lambda text: _labels(matcher, domain_labels(text))
    if isinstance(matcher, Equals):
        whole = matcher.value.matcher()
        return lambda text: whole(text.lower())
    raise TypeError(f"{type(matcher).__name__} is no matcher of texts")


def _words(type_: Type, matcher: Words) -> Test:
    def test(text: str) -> bool:
        if type_ is Type.TEXT:
            words = text_words(text)
        elif matcher.legacy:
            words = legacy_cmdline_words(text)
        else:
            words = cmdline_words(text)
        if matcher.together:
            return _run(matcher.words, words)
        tokens = {*words, *extensions(words)} if type_ is Type.CMDLINE and not matcher.legacy else set(words)
        return all(word.text in tokens if word.literal else any(map(word.matcher(), tokens)) for word in matcher.words)

    return test


def _sub_path(fold: Callable[[str], str], glob: Glob) -> Test:
    if glob.literal:
        tail = f"\\{glob.text}"
        return lambda text: f"\\{fold(text)}".endswith(tail)
    if glob.is_prefix:
        head = f"\\{glob.prefix}"
        return lambda text: head in f"\\{fold(text)}"
    anywhere = Glob(f"{MANY}\\{glob.text}").matcher()  # behind any separator: each trailing part, in one pass
    return lambda text: anywhere(f"\\{fold(text)}")


def _labels(matcher: Labels, labels: Sequence[str]) -> bool:
    wanted, count = matcher.labels, len(matcher.labels)
    last = len(labels) - count
    places = {
        Place.ANYWHERE: range(last + 1),
        Place.FIRST: range(min(1, last + 1)),
        Place.LAST: range(max(0, last), last + 1),
        Place.MIDDLE: range(1, last),
    }[matcher.place]
    return any(_run(wanted, labels[at : at + count]) for at in places)


def _run(wanted: Sequence[Glob], words: Sequence[str]) -> bool:
    """Whether the wanted words stand next to each other somewhere."""
    count = len(wanted)
    return any(
        all(want.matches(word) for want, word in zip(wanted, words[at : at + count]))
        for at in range(len(words) - count + 1)
    )
