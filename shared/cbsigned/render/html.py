"""Enrichments as HTML: a card to put into another page, and a whole report that needs nothing but itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import urlsplit

from cbsigned.errors import ConfigError
from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import counts, facts, headline, lineage_names, unknowns, verdict_word, why
from cbsigned.render.marks import mark
from cbsigned.render.style import Style
from cbsigned.render.svg import SVG_STYLE, svg_lineage, svg_mark
from cbsigned.render.text import lineage_text
from cbsigned.status import SigningStatus

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["html_card", "html_report"]

_MAX_VALUE = 4096
_TEXT_WIDTH = 118


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
    return template.render(card=_card(document), style=style, text_open=True)


def html_report(documents: Iterable[Document], title: str, *, max_cards: int = 500) -> str:
    """Return a whole page: counts by status, a table of all alerts, a card for each, lineages drawn.

    Self-contained: no script, no outside asset, and a policy that forbids both. Light or dark as the reader's
    system is.

    Args:
        documents: From `enrichment_document`; all are held in memory.
        title: Heading of the page.
        max_cards: Most cards; the table has every alert, and the page says how many cards are left out.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    environment = _environment()
    kept = list(documents)
    tally = Counter(document["status"] for document in kept)
    return environment.get_template("report.html.j2").render(
        title=title,
        tally=[(status.value, tally[status.value]) for status in SigningStatus if tally[status.value]],
        total=len(kept),
        incomplete=sum(not document["complete"] for document in kept),
        rows=[_row(document) for document in kept],
        cards=[_card(document) for document in kept[:max_cards]],
        text_open=False,
    )


def _environment() -> Environment:
    try:
        import jinja2
    except ImportError as exc:
        raise ConfigError(
            "HTML output needs Jinja2, and it is not installed here. Install it with: pip install 'cbsigned[html]'"
        ) from exc
    from markupsafe import Markup

    def visible(value: Any) -> Any:
        """Neutralise control characters in every value that a template shows."""
        return value if isinstance(value, Markup) else clean(value, _MAX_VALUE)

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
        mark=lambda status: Markup(svg_mark(status)),  # noqa: S704 - built from constants
        tone=lambda status: mark(status).tone,
    )
    environment.filters["drawn"] = lambda lineage: Markup(svg_lineage(lineage, style=False))  # noqa: S704 - escapes
    environment.filters["tree"] = lambda lineage: Markup.escape(lineage_text(lineage, Style(width=_TEXT_WIDTH)))
    return environment


def _row(document: Document) -> Document:
    subjects = document["subjects"]
    first: Document = subjects[0] if subjects else {}
    return {
        "status": document["status"],
        "name": first.get("name") or headline(document, first or None),
        "more": max(0, len(subjects) - 1),
        "host": first.get("host"),
        "user": first.get("user"),
        "publisher": (first.get("signature") or {}).get("publisher"),
        "lineage": lineage_names(first.get("lineage")),
        "reason": why(document),
    }


def _card(document: Document) -> Document:
    alert = document["alert"] or {}
    subjects = document["subjects"]
    return {
        "complete": document["complete"],
        "link": _safe_link(alert.get("link")),
        "subjects": [_subject(document, subject) for subject in subjects] or [_nothing(document)],
    }


def _subject(document: Document, subject: Document) -> Document:
    return {
        "status": subject["status"],
        "word": verdict_word(subject),
        "title": headline(document, subject),
        "reason": subject["reason"],
        "notes": subject["verdict"]["notes"],
        "facts": facts(document, subject),
        "lineage": subject["lineage"],
        "counts": counts(subject),
        "unknowns": unknowns(subject),
    }


def _nothing(document: Document) -> Document:
    return {
        "status": SigningStatus.UNKNOWN.value,
        "word": SigningStatus.UNKNOWN.value,
        "title": headline(document),
        "reason": document["reason"],
        "notes": [],
        "facts": [],
        "lineage": None,
        "counts": [],
        "unknowns": unknowns(document),
    }


def _safe_link(link: Optional[str]) -> Optional[str]:
    """Return a link that a page may carry: web addresses alone, without user or password."""
    if link is None or clean(link) != link:
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    return link if parts.scheme in ("https", "http") and parts.hostname and not parts.username else None
