"""`cbsigned serve`: the webhook responder on a socket, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from cbsigned.cli import Context, ExitCode
from cbsigned.errors import ConfigError
from cbsigned.settings import expanded

if TYPE_CHECKING:
    from cbsigned.settings import Settings
    from cbsigned_connectors.webhook.broker import BrokerSettings
    from cbsigned_connectors.webhook.configuration import WebhookSettings
    from cbsigned_connectors.webhook.jobs import FileJobs, JobSettings
    from cbsigned_connectors.webhook.service import Recogniser
    from cbsigned_connectors.webhook.shared_jobs import SharedJobs

__all__ = ["core_settings", "opened_jobs", "serve", "shared_jobs"]

Subparsers = Any  # argparse names its type privately

TOKEN_VARIABLE = "CBSIGNED_WEBHOOK_TOKEN"  # noqa: S105 (the name of a variable)

_EXAMPLES = f"""
examples:
  cbsigned serve --store lab.db                   a first token is printed once; the address is http://127.0.0.1:8787
  {TOKEN_VARIABLE}=$(openssl rand -hex 20) cbsigned serve --port 0
  cbsigned serve --config /etc/cbsigned/webhook.yaml --json-logs
  curl -s -H "Authorization: Bearer $TOKEN" --json @alert.json http://127.0.0.1:8787/v1/alerts

The store or the EDR server is named as for every command: --store, CBSIGNED_STORE, CBSIGNED_EDR_URL, config.ini. It
listens on the loopback unless --host says otherwise; put a TLS proxy before it where others reach it. Ctrl-C or SIGTERM
stops it when what it accepted is answered."""


def serve(subparsers: Subparsers) -> None:
    """Add `cbsigned serve`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "serve", help="answer alerts over HTTP: the webhook responder", epilog=_EXAMPLES,
        description="Answer alerts over HTTP: the webhook responder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--host", metavar="ADDRESS", help="listen here (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="0 for any free one (default: 8787)")
    parser.add_argument("--token", metavar="TEXT", help=f"what senders must give (default: {TOKEN_VARIABLE})")
    parser.add_argument(
        "--config", dest="webhook_config", type=Path, metavar="FILE",
        help="YAML: senders, mappings, callbacks, limits (docs/webhook-configuration.md)",
    )  # fmt: skip
    parser.add_argument("--store", metavar="PATH", help="the embedded store to ask (default: CBSIGNED_STORE)")
    parser.add_argument("--json-logs", action="store_true", help="log lines as JSON on standard error, each request")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log each request; -vv each question too")
    parser.set_defaults(run=_run, config=None, output="json")


def _run(args: argparse.Namespace, context: Context) -> int:
    try:
        from cbsigned_connectors.http_server import listen, run
        from cbsigned_connectors.webhook.app import SERVING, create_app
        from cbsigned_connectors.webhook.callbacks import Callbacks
        from cbsigned_connectors.webhook.configuration import WebhookSettings, load
        from cbsigned_connectors.webhook.logs import use_json_lines
        from cbsigned_connectors.webhook.metrics import Metrics
        from cbsigned_connectors.webhook.responder import Responder
        from cbsigned_connectors.webhook.service import Parts
        from cbsigned_connectors.webhook.sources import watched
    except ImportError as exc:
        raise ConfigError(
            f"cbsigned serve needs {exc.name}, which is not installed: pip install 'cbsigned[webhook]'"
        ) from exc
    settings = load(args.webhook_config, os.environ) if args.webhook_config else WebhookSettings()
    core = core_settings(context.settings, settings)
    senders, told = _senders(args, os.environ, settings)
    job_settings = settings.jobs
    if job_settings.path == WebhookSettings().jobs.path:
        job_settings = replace(job_settings, path=_state_folder(os.environ) / "webhook-jobs.db")
    if args.json_logs:
        use_json_lines()
    metrics = Metrics()
    with contextlib.closing(opened_jobs(job_settings, core)) as jobs:
        asked = watched(context.sources(), core, metrics, jobs)
        app = create_app(
            Parts(
                Responder(asked.sources, core, asked.hot), senders, asked.health, metrics, jobs,
                settings.mappings, settings.deadline_s, bodies=settings.bodies,
                callbacks=Callbacks(settings.callbacks) if settings.callbacks.hosts else None,
                trusted_proxies=settings.trusted_proxies,
            )
        )  # fmt: skip
        host, port = args.host or settings.host, settings.port if args.port is None else args.port
        with listen(host, port) as sock:
            lines = _start_lines(sock.getsockname(), asked.sources.binaries.name)
            run(app, sock, SERVING, lambda: context.say("\n".join([*lines, *told])))
    context.say("cbsigned serve: stopped.")
    return ExitCode.OK


def core_settings(core: Settings, webhook: WebhookSettings) -> Settings:
    """Return the core's settings with the cache that the webhook's configuration names."""
    return replace(core, cache_server=webhook.cache) if webhook.cache is not None else core


def opened_jobs(settings: JobSettings, core: Settings) -> Union[FileJobs, SharedJobs]:
    """Return the store of jobs: a file, or what `shared_jobs` returns.

    Raises:
        ConfigError: It cannot be used, or an extra is not installed.
    """
    if settings.broker is not None:
        return shared_jobs(settings, settings.broker, core)
    from cbsigned_connectors.webhook.jobs import FileJobs

    return FileJobs(settings)


def shared_jobs(settings: JobSettings, broker: BrokerSettings, core: Settings) -> SharedJobs:
    """Return the jobs that a broker hands out, and whose state is in the cache's server.

    Raises:
        ConfigError: There is no cache, or an extra is not installed.
    """
    from cbsigned.rediscache.server import RedisServer
    from cbsigned_connectors.webhook.broker import Broker
    from cbsigned_connectors.webhook.shared_jobs import SharedJobs

    if core.cache_server is None:
        raise ConfigError(
            "jobs.url names a broker, and there is no cache: how far jobs are, and their answers, are kept there. "
            "Add cache: redis://… to the same file."
        )
    return SharedJobs(settings, RedisServer(core.cache_server), Broker(broker))


def _start_lines(address: tuple[Any, ...], source: str) -> list[str]:
    """Return what is said when the service answers."""
    host, port = address[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    lines = [
        f"cbsigned serve: {url} answers from {source}. Ctrl-C stops it.",
        "Senders post alerts to /v1/alerts; the address itself is the page for people.",
    ]
    if host not in ("127.0.0.1", "::1"):
        lines.append("Whoever sees the network sees tokens and alerts: put a TLS proxy before it.")
    return lines


def _senders(
    args: argparse.Namespace, environ: Mapping[str, str], settings: WebhookSettings
) -> tuple[Recogniser, list[str]]:
    """Return who may post, and what is to be said of it."""
    from cbsigned_connectors.webhook.senders import Senders
    from cbsigned_connectors.webhook.tokens import first_run_token, token_senders

    given: Optional[str] = args.token or environ.get(TOKEN_VARIABLE)
    if given:
        own = token_senders(given, "--token" if args.token else TOKEN_VARIABLE)
        return Senders([*settings.senders, *own.settings]), []
    if settings.senders:
        return Senders(settings.senders), []
    kept, token = first_run_token(_state_folder(environ))
    if token is None:
        return kept, ["Senders give the token of the first run, or start with --token."]
    return kept, [f"Senders give this token, shown this once: {token}"]


def _state_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME", "").strip()
    return Path(base) / "cbsigned" if base else expanded("~/.local/state/cbsigned")
