"""The built app, a real EDR server over the sample store, and stand-ins for splunkd that have both."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import pytest
import trustme

from cbsigned.store.source import StoreSource
from cbsigned_connectors.splunk.handler import Handler
from connectors.edr_server.serving import serving
from connectors.splunk.alerting import Action, Port, serving_port
from connectors.splunk.handling import handling
from splunkd.instance import Splunkd
from splunkd.packages import build, unpack

TOKEN = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
"""The canary: the API token that must be seen nowhere."""


@dataclass(frozen=True)
class Edr:
    """A running EDR server."""

    url: str
    ca_file: Path
    token: str = TOKEN


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the SDK does in the tests that run it here: it makes a search's dispatch folder everybody's."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


@pytest.fixture(scope="session")
def spl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def app(spl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(spl, tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="session")
def edr(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edr]:
    """`cbsigned edr-server` over the sample telemetry, with TLS, in a process of its own."""
    folder = tmp_path_factory.mktemp("edr")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    argv = [sys.executable, "-c", "import sys; from cbsigned.cli import main; sys.exit(main())", "edr-server"]
    argv += ["--store", str(sample_store), "--port", "0"]
    argv += ["--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.pem")]
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("CBSIGNED_")}, "CBSIGNED_SERVER_TOKEN": TOKEN}
    with subprocess.Popen(argv, env=env, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"https://127\.0\.0\.1:\d+", process.stderr.readline())
            assert found is not None
            yield Edr(found.group(), folder / "ca.pem")
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture
def fresh(app: Path, tmp_path: Path) -> Iterator[Splunkd]:
    """A splunkd with the app as it is after installation, before setup."""
    with Splunkd(tmp_path, app) as splunkd:
        yield splunkd


@pytest.fixture
def splunkd(fresh: Splunkd, edr: Edr) -> Splunkd:
    """A splunkd whose app is set up for the EDR server."""
    fresh.configure(edr.token, edr={"url": edr.url, "ca_file": str(edr.ca_file)})
    return fresh


@pytest.fixture(scope="module")
def instance(app: Path, edr: Edr, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splunkd]:
    """As `splunkd`, one for all tests of a module."""
    with Splunkd(tmp_path_factory.mktemp("instance"), app) as splunkd:
        splunkd.configure(edr.token, edr={"url": edr.url, "ca_file": str(edr.ca_file)})
        yield splunkd


Factory = Callable[[str], Splunkd]


@pytest.fixture
def splunkd_for(app: Path, tmp_path: Path) -> Iterator[Factory]:
    """Make a splunkd whose app is set up for another EDR server, one that speaks HTTP."""
    with contextlib.ExitStack() as stack:

        def make(url: str) -> Splunkd:
            splunkd = stack.enter_context(Splunkd(tmp_path, app))
            splunkd.configure(TOKEN, edr={"url": url, "parallel": "2"})
            return splunkd

        yield make


@pytest.fixture(scope="module")
def over_samples(sample_store: Path) -> Iterator[tuple[Handler, str]]:
    """A handler that asks an EDR server over the sample store, and the address of its splunkd."""
    with serving(sample_store) as client, handling(client.url) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SPLUNK_HOME with the folders that the alert action reads and writes."""
    for folder in ("var/log/splunk", "var/run/splunk/dispatch/1448.12", "etc/auth"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("SPLUNK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def source(sample_store: Path) -> Iterator[StoreSource]:
    """The sample store as the core asks it."""
    with StoreSource(sample_store) as found:
        yield found


@pytest.fixture
def port(source: StoreSource, home: Path) -> Iterator[Port]:
    with serving_port(source, home) as found:
        yield found


@pytest.fixture
def action(home: Path, port: Port) -> Action:
    return Action(home, port)
