"""Stores that several tests ask, and a certificate for the loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import Client, serving
from support import real_data


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "real.db"
    ingest(path, [real_data("cb-response-splunk-app")])
    return path


@pytest.fixture(scope="module")
def client(sample_store: Path) -> Client:
    with serving(sample_store) as ready:
        yield ready


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a certificate, its key, and the authority that clients trust."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return {"cert": folder / "server.pem", "key": folder / "server.pem", "ca": folder / "ca.pem"}
