"""Enrichments as HTML: a card to put into another page, and a whole report that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from cbsigned.errors import ConfigError
from cbsigned.render.choice import Choice, choose
from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import (
    INCOMPLETE,
    alert_link,
    card_unknowns,
    console,
    counts,
    facts,
    headline,
    lineage_names,
    publisher,
    unknowns,
    verdict_word,
    why,
    worse,
    worse_sentence,
)
from cbsigned.render.marks import look, mark, ordered, word
from cbsigned.render.style import Style
from cbsigned.render.svg import SVG_STYLE, svg_lineage, svg_mark
from cbsigned.render.tree import lineage_text

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Report", "html_card", "html_report", "report"]

_MAX_VALUE = 4000
_MAX_CARDS = 500
_TEXT_WIDTH = 92


def html_card(document: Document, *, style: bool = True) -> str:
    """Return one alert with everything found out, as a fragment to put into a page.

    Args:
        document: From `enrichment_document`.
        style: Begin with a `<style>` element; False where the page has it already.

    Raises:
        ConfigError: Jinja2 is not installed.

    References:
        - soar-platforms §10: the card's content and order
    """
    template = _environment().get_template("card.html.j2")
    return template.render(card=_card(document, ()), style=style, text_open=True)


@dataclass(frozen=True)
class Report:
    """A whole page, and what it does not show.

    Attributes:
        page: HTML.
        summary: What is left out, and why, as a sentence for standard error; None where nothing is.
    """

    page: str
    summary: Optional[str]


def report(documents: Iterable[Document], title: str, *, max_cards: int = _MAX_CARDS) -> Report:
    """Return a whole page: counts by status, a table of all alerts, cards for the most serious, lineages drawn.

    Self-contained: no script, no outside asset, and a policy that forbids both. Light or dark as the reader's
    system is. The table has every alert in the order of the input; alerts about the same process or file share a
    card.

    Args:
        documents: From `enrichment_document`; all are held in memory.
        title: Heading of the page.
        max_cards: Most cards; the page says what is left out, and so does `Report.summary`.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    environment = _environment()
    kept = list(documents)
    choice = choose(kept, max_cards)
    card_of = {place: group[0] + 1 for group in choice.groups for place in group}
    page = environment.get_template("report.html.j2").render(
        title=title,
        chips=_chips(kept),
        total=len(kept),
        incomplete=sum(not document["complete"] for document in kept),
        rows=[_row(document, card_of.get(at)) for at, document in enumerate(kept)],
        subjects=len(choice.groups) + len(choice.left_out),
        left_out=choice.summary,
        cards=_cards(kept, choice),
        text_open=False,
    )
    return Report(page, choice.summary)


def html_report(documents: Iterable[Document], title: str, *, max_cards: int = _MAX_CARDS) -> str:
    """Return the page of `report` alone."""
    return report(documents, title, max_cards=max_cards).page


def _cards(documents: Sequence[Document], choice: Choice) -> list[Document]:
    return [_card(documents[group[0]], [place + 1 for place in group]) for group in choice.groups]


def _chips(documents: Sequence[Document]) -> list[Document]:
    """Return for every word its look, how many alerts have it, and the number of the first, most serious first."""
    places: dict[str, list[int]] = {}
    for number, document in enumerate(documents, 1):
        places.setdefault(word(document), []).append(number)
    return [
        {"word": text, "look": look(documents[found[0] - 1]), "number": len(found), "first": found[0]}
        for text in ordered(places)
        for found in [places[text]]
    ]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the templates, made once: a card is quicker than they are."""
    try:
        import jinja2
    except ImportError as exc:
        raise ConfigError(
            "HTML output needs Jinja2, and it is not installed here. Install it with: pip install 'cbsigned[html]'"
        ) from exc
    from markupsafe import Markup

    def visible(value: Any) -> Any:
        """Neutralise control characters in every value that a template shows; a long one says how much is cut."""
        if isinstance(value, Markup):
            return value
        text = "" if value is None else str(value)
        more = len(text) - _MAX_VALUE
        return clean(text, _MAX_VALUE) + (f" ({more:,} more characters)" if more > 0 else "")

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        svg_style=Markup(SVG_STYLE),  # noqa: S704 - our own constant
        mark=lambda looks: Markup(svg_mark(looks)),  # noqa: S704 - built from constants
        tone=lambda looks: mark(looks).tone,
    )
    environment.filters["drawn"] = lambda lineage: Markup(svg_lineage(lineage, style=False))  # noqa: S704 - escapes
    environment.filters["tree"] = lambda lineage: Markup.escape(lineage_text(lineage, Style(_TEXT_WIDTH), own=False))
    return environment


def _row(document: Document, card: Optional[int]) -> Document:
    subjects, alert = document["subjects"], document["alert"] or {}
    first: Document = subjects[0] if subjects else {}
    found = worse(document)
    shown = document if found is None else first
    return {
        "look": look(shown),
        "word": word(shown),
        "worst": None if found is None else {"look": look(found), "word": word(found)},
        "card": card,
        "name": first.get("name") or headline(document, first or None),
        "more": max(0, len(subjects) - 1),
        "alert": alert.get("title") or alert.get("kind"),
        "at": alert.get("at"),
        "host": first.get("host"),
        "user": first.get("user"),
        "publisher": publisher(document),
        "lineage": lineage_names(first.get("lineage")),
        "reason": why(document),
    }


def _card(document: Document, rows: Sequence[int]) -> Document:
    subjects = document["subjects"]
    return {
        "look": look(document),
        "rows": rows,
        "incomplete": None if document["complete"] else INCOMPLETE,
        "link": alert_link(document),
        "subjects": [_subject(document, subject) for subject in subjects] or [_nothing(document)],
    }


def _subject(document: Document, subject: Document) -> Document:
    told = worse_sentence(document) if subject is document["subjects"][0] else None
    return {
        "look": look(subject),
        "word": verdict_word(subject),
        "title": headline(document, subject),
        "reason": subject["reason"],
        "notes": [*subject["verdict"]["notes"], *([told] if told else [])],
        "facts": facts(document, subject),
        "console": console(subject),
        "lineage": subject["lineage"],
        "counts": counts(subject),
        "unknowns": card_unknowns(document, subject),
    }


def _nothing(document: Document) -> Document:
    return {
        "look": look(document),
        "word": word(document),
        "title": headline(document),
        "reason": document["reason"],
        "notes": [],
        "facts": [],
        "console": [],
        "lineage": None,
        "counts": [],
        "unknowns": unknowns(document),
    }
