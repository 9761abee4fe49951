"""`cbsigned edr-server`: the EDR's REST API over a store."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from cbsigned.cli import Context, ExitCode, common_options
from cbsigned.errors import ConfigError
from cbsigned_connectors.edr_server.access import Grants, grants_of_file, grants_of_token
from cbsigned_connectors.edr_server.dialect import DEFAULT_VERSION, parse_dialect
from cbsigned_connectors.edr_server.faults import Faults, faults_of_file

__all__ = ["edr_server"]

Subparsers = Any  # argparse names its type privately

TOKEN_VARIABLE = "CBSIGNED_SERVER_TOKEN"  # noqa: S105 (the name of a variable)
CONTROL_VARIABLE = "CBSIGNED_SERVER_CONTROL_TOKEN"

_EXAMPLES = f"""
examples:
  {TOKEN_VARIABLE}=$(openssl rand -hex 20) cbsigned edr-server --store lab.db --port 8443
  cbsigned edr-server --store lab.db --tokens tokens.json --tls-cert cert.pem --tls-key key.pem
  cbsigned edr-server --store lab.db --tokens tokens.json --version 5.1 --block joins
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \\
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem

It is a server to develop and test against, with the telemetry of a store; every answer is computed from it. Anyone
with a token reads all of it, so it listens on the loopback unless --host says otherwise. Ctrl-C stops it."""


def edr_server(subparsers: Subparsers) -> None:
    """Add `cbsigned edr-server`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "edr-server", help="serve a store over the EDR's REST API, to develop against", epilog=_EXAMPLES,
        description="Serve a store over the EDR's REST API, to develop against.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8443, metavar="N", help="0 for any free one (default: 8443)")
    parser.add_argument("--token", metavar="TEXT", help=f"the API token, all rights (default: {TOKEN_VARIABLE})")
    parser.add_argument("--tokens", type=Path, metavar="FILE", help="JSON file with several tokens and their rights")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="certificate chain; without it plain HTTP")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument(
        "--version", dest="server_version", default=DEFAULT_VERSION, metavar="V",
        help=f"server version to imitate, 5.0 to 7.x (default: {DEFAULT_VERSION})",
    )  # fmt: skip
    parser.add_argument("--files", type=Path, metavar="DIR", help="binaries for download, each file named by its MD5")
    parser.add_argument(
        "--block", action="append", default=[], choices=("joins", "leading-wildcards"), help="refuse such searches"
    )
    parser.add_argument(
        "--allow", action="append", default=[], choices=("leading-wildcards",),
        help="accept them although the version refuses them by default (6.2.3 and later)",
    )  # fmt: skip
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fail on purpose: JSON or YAML rules, see the docs")
    parser.add_argument(
        "--control-token", metavar="TEXT",
        help=f"change the faults while it runs, at /_faults (default: {CONTROL_VARIABLE}; off without one)",
    )  # fmt: skip
    common_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, context: Context) -> int:
    try:
        from cbsigned_connectors.edr_server.app import SERVING, application
        from cbsigned_connectors.edr_server.desk import Desk, Options
        from cbsigned_connectors.edr_server.unreliable import Unreliable
        from cbsigned_connectors.http_server import listen, run, tls_checked
    except ImportError as exc:
        raise ConfigError(
            f"cbsigned edr-server needs {exc.name}, which is not installed: pip install 'cbsigned[server]'"
        ) from exc
    store = context.store_path()
    options = Options(
        store, _grants(args), parse_dialect(args.server_version), args.files, block_joins="joins" in args.block,
        block_leading_wildcards=_leading_wildcards(args),
    )  # fmt: skip
    faults = faults_of_file(args.faults) if args.faults is not None else Faults()
    control = _control_token(args)
    tls = tls_checked(args.tls_cert, args.tls_key)
    desk = Desk(options)
    try:
        app = Unreliable(application(desk), faults, control) if faults.rules or control else application(desk)
        with listen(args.host, args.port) as sock:
            told = _start_lines(sock.getsockname(), store, options.dialect.version, tls)
            if faults.rules or control:
                told.append(f"Fault mode: {len(faults.rules)} rules{', changeable at /_faults' if control else ''}.")
            serving = replace(SERVING, cert=args.tls_cert, key=args.tls_key)
            run(app, sock, serving, lambda: context.say("\n".join(told)))
    finally:
        desk.close()
    context.say("cbsigned edr-server: stopped.")
    return ExitCode.OK


def _start_lines(address: tuple[Any, ...], store: Path, version: str, tls: bool) -> list[str]:
    """Return what is said when the server answers: where, what, as what, and what to mind."""
    host, port = address[:2]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    lines = [f"cbsigned edr-server: {url} answers from {store} as EDR {version}. Ctrl-C stops it."]
    if not tls and host not in ("127.0.0.1", "::1"):
        lines.append("Whoever sees the network sees tokens and telemetry: give --tls-cert and --tls-key.")
    elif not tls:
        lines.append("Plain HTTP: the official client refuses it; give --tls-cert and --tls-key for https.")
    return lines


def _grants(args: argparse.Namespace) -> Grants:
    token = args.token or os.environ.get(TOKEN_VARIABLE)
    if args.tokens is not None:
        if args.token:
            raise ConfigError("--token and --tokens are both given. Put the token into the file, or drop --tokens.")
        return grants_of_file(args.tokens)
    if not token:
        raise ConfigError(
            f"No API token is set, and nobody is let in without one. Set {TOKEN_VARIABLE}, or give --token or "
            "--tokens. A new one: openssl rand -hex 20"
        )
    return grants_of_token(token)


def _control_token(args: argparse.Namespace) -> Optional[str]:
    token: Optional[str] = args.control_token or os.environ.get(CONTROL_VARIABLE)
    if token is not None:
        grants_of_token(token, "--control-token")
        if token == (args.token or os.environ.get(TOKEN_VARIABLE)):
            raise ConfigError("The control token is the API token too. Choose another: clients must not change faults.")
    return token


def _leading_wildcards(args: argparse.Namespace) -> Optional[bool]:
    blocked, allowed = "leading-wildcards" in args.block, "leading-wildcards" in args.allow
    if blocked and allowed:
        raise ConfigError("leading-wildcards are both blocked and allowed: leave out one of --block and --allow.")
    return True if blocked else False if allowed else None
