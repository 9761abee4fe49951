"""The app for Splunk SOAR, without the SDK: what is asked, what its widget shows, what its webhook answers.

`packaging/soar/src/app.py` has the SDK's part; it ran with splunk-soar-sdk 2.3.7 and 7.0.3. To try one action:
`docs/playbooks-soar.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from cbsigned.render.document import Document
from cbsigned_playbooks.actions import Outcome, answer
from cbsigned_playbooks.catalogue import action_named
from cbsigned_playbooks.definition import View

__all__ = ["answer", "told", "webhook", "widget"]


def told(row: Document) -> str:
    """Return one thing that `test connection` tried, as a line of progress."""
    return f"{row['topic']}: {_WORKS[row['ok']]}. {row['text']}"


def widget(name: str, rows: Sequence[Document]) -> dict[str, Any]:
    """Return what the template shows of an action's rows, drawn anew: no text that came through the platform is markup.

    Args:
        name: Of the catalogue.
        rows: Of all results that the widget is for.

    Returns:
        `heading`, a text, and `content`, safe HTML.
    """
    from markupsafe import Markup  # with the Jinja2 of the SDK

    action = action_named(name)
    documents = tuple(_document(action.view, row) for row in rows) if action.view in (View.CARD, View.LINEAGE) else ()
    outcome = Outcome(action, True, action.summary, list(rows), documents=documents)
    return {"heading": action.title, "content": Markup(outcome.html)}  # noqa: S704 (escaped where it is drawn)


def webhook(body: Optional[str], asset: Mapping[str, Any]) -> tuple[int, Document]:
    """Return the HTTP status and the answer to an alert that was posted.

    200 with `enrichments`; with `error` 400 for what is no alert, and 503 where source or asset must be mended first.

    Args:
        body: One alert as JSON, or a list.
    """
    outcome = answer("enrich_alert", {"alert": body}, asset)
    if outcome.ok:
        return 200, {
            "message": outcome.message,
            "complete": outcome.complete,
            "summary": dict(outcome.summary),
            "enrichments": outcome.rows,
        }
    return (400 if outcome.complete else 503), {"error": outcome.message}


def _document(view: View, row: Document) -> Document:
    """Return the enrichment document that a row was made of; of a lineage, one with its process as the only subject."""
    if view is View.CARD:
        return row
    return {**row, "alert": None, "origin": None, "subjects": [row]}


_WORKS = {True: "works", False: "does not work", None: "not known"}
