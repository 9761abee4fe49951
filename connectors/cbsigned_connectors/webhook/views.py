"""The page's HTML: templates filled, everything from outside made visible and escaped, cards by the core's renderer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import jinja2
from markupsafe import Markup

import cbsigned
from cbsigned.render import html, markdown
from cbsigned.render.clean import clean
from cbsigned.render.marks import mark
from cbsigned.render.svg import SVG_STYLE, svg_mark
from cbsigned.timing import format_time
from cbsigned_connectors.webhook.recent import Seen
from cbsigned_connectors.webhook.sessions import Session

__all__ = ["Message", "SourceState", "Views", "markdown_of"]

_HERE = Path(__file__).parent / "templates"
_MAX_SHOWN = 1000
_TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class SourceState:
    """Whether a source answers.

    Attributes:
        name: `edr:cb.example.test`, `store:lab.db`.
        works: None where it has not been asked yet.
        told: One sentence: what it is, or why it does not answer and what to do.
        checked_at: When that was so.
    """

    name: str
    works: Optional[bool]
    told: str
    checked_at: Optional[datetime] = None


@dataclass(frozen=True)
class Message:
    """Something that went wrong, with what to do."""

    text: str


class Views:
    """All that the page can show; safe to use from several threads."""

    def __init__(self) -> None:
        folders = [_HERE, Path(html.__file__).parent]
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folders),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            svg_style=Markup(SVG_STYLE),  # noqa: S704 - our own constant
            mark=lambda looks: Markup(svg_mark(looks)),  # noqa: S704 - built from constants
            tone=lambda looks: mark(looks).tone,
            version=cbsigned.__version__,
        )
        self._environment.filters["moment"] = format_time
        self.assets: Mapping[str, tuple[bytes, str]] = {name: self._asset(name) for name in _TYPES}
        """Name → content and type of everything that a page loads."""
        told = hashlib.sha256(b"".join(content for content, _type in self.assets.values()))
        self._environment.globals["asset"] = f"?v={told.hexdigest()[:12]}"

    def sign_in(
        self, *, error: Optional[Message] = None, paste: str = "", onward: str = "/", again: bool = False
    ) -> str:
        """Return the page on which a token is typed.

        Args:
            error: Why the last attempt failed.
            paste: What was pasted when the session ended; it comes back after signing in.
            onward: Path that was asked for.
            again: The request came from another site's link, so that a session's cookie was not sent with it.
        """
        template = self._environment.get_template("sign_in.html.j2")
        return template.render(error=error, paste=Markup.escape(paste), onward=onward, again=again)

    def page(
        self, session: Session, recent: Sequence[Seen], sources: Sequence[SourceState], *,
        seen: Optional[Seen] = None, error: Optional[Message] = None, paste: str = "",
    ) -> str:  # fmt: skip
        """Return the page: the form, one answer where there is one, recent answers, and the state of sources."""
        documents = seen.documents() if seen is not None else []
        return self._environment.get_template("page.html.j2").render(
            session=session,
            recent=recent,
            sources=sources,
            seen=seen,
            stale=any(document.get("stale") for document in documents),
            cards=[Markup(html.html_card(d, style=False)) for d in documents],  # noqa: S704 - escapes
            error=error,
            paste=Markup.escape(paste),
        )

    def _asset(self, name: str) -> tuple[bytes, str]:
        if name == "page.css":
            text = self._environment.get_template("page.css.j2").render()
        else:
            text = (_HERE / name).read_text(encoding="utf-8")
        return text.encode("utf-8"), _TYPES[name]


def markdown_of(seen: Seen) -> str:
    """Return an answer as Markdown, for a ticket."""
    text = "\n\n---\n\n".join(markdown.markdown_card(document) for document in seen.documents())
    return text + _left_out(seen)


def _left_out(seen: Seen) -> str:
    shown = len(seen.bodies)
    return f"\n\nShown are the first {shown} of {seen.total} alerts.\n" if shown < seen.total else "\n"


def _visible(value: Any) -> Any:
    """Make control characters visible in every value that a template shows."""
    return value if isinstance(value, Markup) else clean(value, _MAX_SHOWN)
