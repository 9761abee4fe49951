"""`cbsigned serve`: the webhook responder on a socket, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from cbsigned.cli import Context, ExitCode, common_options, expanded
from cbsigned.errors import ConfigError

if TYPE_CHECKING:
    from cbsigned_connectors.webhook.service import Recogniser

__all__ = ["serve"]

Subparsers = Any  # argparse names its type privately

TOKEN_VARIABLE = "CBSIGNED_WEBHOOK_TOKEN"  # noqa: S105 (the name of a variable)

_EXAMPLES = f"""
examples:
  cbsigned serve --store lab.db                   a first token is printed once; the address is http://127.0.0.1:8787
  {TOKEN_VARIABLE}=$(openssl rand -hex 20) cbsigned serve --port 0
  curl -s -H "Authorization: Bearer $TOKEN" --data @alert.json http://127.0.0.1:8787/v1/alerts

It listens on the loopback unless --host says otherwise; put a TLS proxy before it where others reach it. Ctrl-C or
SIGTERM stops it when what it accepted is answered."""


def serve(subparsers: Subparsers) -> None:
    """Add `cbsigned serve`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "serve", help="answer alerts over HTTP: the webhook responder", epilog=_EXAMPLES,
        description="Answer alerts over HTTP: the webhook responder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8787, metavar="N", help="0 for any free one (default: 8787)")
    parser.add_argument("--token", metavar="TEXT", help=f"what senders must give (default: {TOKEN_VARIABLE})")
    common_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, context: Context) -> int:
    try:
        from cbsigned_connectors.webhook.app import create_app
        from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
        from cbsigned_connectors.webhook.metrics import Metrics
        from cbsigned_connectors.webhook.responder import Responder
        from cbsigned_connectors.webhook.server import listen, run
        from cbsigned_connectors.webhook.service import Parts
        from cbsigned_connectors.webhook.sources import watched
    except ImportError as exc:
        raise ConfigError(
            f"cbsigned serve needs {exc.name}, which is not installed: pip install 'cbsigned[webhook]'"
        ) from exc
    state = _state_folder(os.environ)
    senders, told = _senders(args, os.environ, state)
    metrics = Metrics()
    with contextlib.closing(FileJobs(JobSettings(state / "webhook-jobs.db"))) as jobs:
        asked = watched(context.sources(), context.settings, metrics, jobs)
        responder = Responder(asked.sources, context.settings, asked.hot)
        app = create_app(Parts(responder, senders, asked.health, metrics, jobs))
        with listen(args.host, args.port) as sock:
            host, port = sock.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            lines = [f"cbsigned serve: {url} answers from {asked.sources.binaries.name}. Ctrl-C stops it.", *told]
            run(app, sock, lambda: context.say("\n".join(lines)))
    context.say("cbsigned serve: stopped.")
    return ExitCode.OK


def _senders(args: argparse.Namespace, environ: Mapping[str, str], state: Path) -> tuple[Recogniser, list[str]]:
    """Return who may post, and what is to be said of it."""
    from cbsigned_connectors.webhook.senders import Senders
    from cbsigned_connectors.webhook.tokens import first_run_token

    given: Optional[str] = args.token or environ.get(TOKEN_VARIABLE)
    if given:
        return Senders.of_token(given, "--token" if args.token else TOKEN_VARIABLE), []
    kept, token = first_run_token(state)
    if token is None:
        return kept, ["Senders give the token of the first run, or start with --token."]
    return kept, [f"Senders give this token, shown this once: {token}"]


def _state_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME", "").strip()
    return Path(base) / "cbsigned" if base else expanded("~/.local/state/cbsigned")
